import { readFileSync } from "node:fs";
import { basename, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import puppeteer from "puppeteer-core";

const [out, ...pages] = process.argv.slice(2);
const axe = readFileSync(`${out}/node_modules/axe-core/axe.min.js`, "utf8");
const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu"],
});
const faults = [];

/** What a reader looks for first and does not find on the first screen: the card of a run, and the start of its results. */
function below(height) {
  const faults = [];
  const card = document.querySelector(".summary");
  if (card && card.getBoundingClientRect().bottom > height) {
    faults.push(`the card ends at ${Math.round(card.getBoundingClientRect().bottom)} of ${height} pixels`);
  }
  const results = document.querySelector("#results");
  if (results && results.getBoundingClientRect().top > height) {
    faults.push(`results start at ${Math.round(results.getBoundingClientRect().top)} of ${height} pixels`);
  }
  return faults;
}

/** Elements that are seen, and reach over the edge of the screen or of the part that shows them. */
function cut(width) {
  const faults = [];
  for (const e of document.body.querySelectorAll("*")) {
    const box = e.getBoundingClientRect();
    // What only readers of screens get has the size of a point.
    if (box.width <= 1 || box.height <= 1 || e.closest(".unseen, .skip, thead")) continue;
    const name = `${e.tagName.toLowerCase()}.${e.getAttribute("class") ?? ""} "${(e.textContent ?? "").trim().slice(0, 40)}"`;
    if (box.right > width + 1 || box.left < -1) faults.push(`${name} reaches from ${Math.round(box.left)} to ${Math.round(box.right)}`);
    const hides = getComputedStyle(e).overflowX !== "visible";
    if (hides && e.scrollWidth > e.clientWidth + 1) faults.push(`${name} shows ${e.clientWidth} of ${e.scrollWidth} pixels`);
  }
  return faults.slice(0, 5);
}

for (const file of pages) {
  const url = pathToFileURL(resolve(file)).href;
  const name = basename(file, ".html");
  const fault = (text) => faults.push(`${name}: ${text}`);
  const page = await browser.newPage();
  page.on("console", (m) => fault(`console: ${m.text()}`));
  page.on("pageerror", (e) => fault(`error: ${e.message}`));
  page.on("request", (r) => {
    if (r.url() !== url && !r.url().startsWith("data:")) fault(`asks for ${r.url()}`);
  });
  for (const scheme of ["light", "dark"]) {
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    await page.setViewport({ width: 1280, height: 800 });
    await page.goto(url, { waitUntil: "load" });
    for (const text of await page.evaluate(below, 800)) fault(text);
    await page.screenshot({ path: `${out}/${name}-${scheme}.png`, fullPage: true });
    await page.setViewport({ width: 390, height: 844 });
    await page.screenshot({ path: `${out}/${name}-${scheme}-phone.png`, fullPage: true });
    await page.setViewport({ width: 1280, height: 800 });
    await page.evaluate(() => document.querySelectorAll("details").forEach((d) => (d.open = true)));
    await page.evaluate(axe);
    const found = await page.evaluate(() =>
      axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }),
    );
    for (const v of found.violations) {
      fault(`${scheme}: ${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map((n) => n.target.join(" ")).join(" | ")}`);
    }
    console.log(`${name} ${scheme}: ${found.passes.length} rules hold`);
  }
  // Closed parts are not in the tab order, so they are looked at opened.
  const wanted = await page.evaluate(() => document.querySelectorAll("a[href], summary, [tabindex='0']").length);
  const seen = await page.evaluate(() => {
    window.seen = new Set();
    document.addEventListener("focusin", (e) => window.seen.add(e.target));
    return 0;
  });
  for (let i = seen; i < wanted + 2; i++) await page.keyboard.press("Tab");
  const reached = await page.evaluate(() => window.seen.size);
  if (reached < wanted) fault(`the tab key reaches ${reached} of ${wanted} places`);
  console.log(`${name}: the tab key reaches ${reached} places`);
  // Phones, with everything opened: the page does not scroll sideways, and nothing is cut off or has to be scrolled.
  for (const width of [390, 360]) {
    await page.setViewport({ width, height: 844 });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    if (wide > width) fault(`is ${wide} pixels wide on a screen of ${width}`);
    for (const text of await page.evaluate(cut, width)) fault(`at ${width} pixels: ${text}`);
  }
  await page.screenshot({ path: `${out}/${name}-phone.png` });
  await page.setViewport({ width: 1280, height: 800 });
  await page.pdf({ path: `${out}/${name}.pdf`, format: "A4" });
  await page.close();
}
await browser.close();
for (const f of faults) console.error(f);
process.exit(faults.length ? 1 : 0);
