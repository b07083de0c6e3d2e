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
    await page.setViewport({ width: 1250, height: 900 });
    await page.goto(url, { waitUntil: "load" });
    await page.screenshot({ path: `${out}/${name}-${scheme}.png`, fullPage: true });
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
  // A phone: the page itself must not scroll sideways, only what is too wide within it.
  await page.setViewport({ width: 360, height: 740 });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  if (wide > 360) fault(`is ${wide} pixels wide on a screen of 360`);
  await page.screenshot({ path: `${out}/${name}-phone.png` });
  await page.pdf({ path: `${out}/${name}.pdf`, format: "A4" });
  await page.close();
}
await browser.close();
for (const f of faults) console.error(f);
process.exit(faults.length ? 1 : 0);
