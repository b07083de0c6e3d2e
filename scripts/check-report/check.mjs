import { basename, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { launch, narrow, rules, tab } from "./page.mjs";

const [out, ...pages] = process.argv.slice(2);
const browser = await launch();
const faults = [];

/** What a reader looks for first and does not find on the first screen: the card of a run, and the
 * start of its results. */
function below(height) {
  const faults = [];
  const end = document.querySelector(".summary")?.getBoundingClientRect().bottom;
  if (end > height) faults.push(`the card ends at ${Math.round(end)} of ${height} pixels`);
  const start = document.querySelector("#results")?.getBoundingClientRect().top;
  if (start > height) faults.push(`results start at ${Math.round(start)} of ${height} pixels`);
  return faults;
}

/** What does not work of a table of runs: sorting, filtering, hiding columns. */
async function table(page) {
  if (!(await page.$("table.runs"))) return [];
  const faults = [];
  const first = () => page.$$eval(".runs tbody th", (cells) => cells[0].textContent.trim());
  const latest = await page.$$eval(".runs tbody th", (cells) => cells.at(-1).textContent.trim());
  const head = ".runs thead th:first-child button";
  await page.click(head);
  await page.click(head);
  if ((await first()) !== latest) faults.push("two clicks do not sort with the latest run first");
  await page.type("#filter", latest);
  const visible = ".runs tbody tr:not([hidden])";
  const shown = await page.$$eval(visible, (rows) => rows.filter((r) => r.checkVisibility()).length);
  if (shown !== 1) faults.push(`the filter leaves ${shown} rows`);
  await page.$eval("#filter", (e) => ((e.value = ""), e.dispatchEvent(new Event("input"))));
  const columns = () => page.$$eval(".runs thead th", (h) => h.filter((x) => !x.hidden).length);
  const before = await columns();
  await page.$eval("#columns input:checked", (box) => box.click());
  if ((await columns()) !== before - 1) faults.push("a column cannot be hidden");
  return faults;
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
    await page.evaluate(() => {
      document.querySelectorAll("details").forEach((d) => (d.open = true));
    });
    const { hold, broken } = await rules(page, out);
    for (const text of broken) fault(`${scheme}: ${text}`);
    console.log(`${name} ${scheme}: ${hold} rules hold`);
  }
  for (const text of await table(page)) fault(text);
  // Closed parts are not in the tab order, so they are looked at opened.
  const { reached, missed } = await tab(page, "a[href], button, input, summary, [tabindex='0']");
  for (const text of missed) fault(`the tab key does not reach ${text}`);
  console.log(`${name}: the tab key reaches ${reached} places`);
  // Phones, with everything opened: the page does not scroll sideways, and nothing is cut off or
  // has to be scrolled.
  for (const width of [390, 360]) for (const text of await narrow(page, width)) fault(text);
  await page.screenshot({ path: `${out}/${name}-phone.png` });
  await page.setViewport({ width: 1280, height: 800 });
  await page.pdf({ path: `${out}/${name}.pdf`, format: "A4" });
  await page.close();
}
await browser.close();
for (const f of faults) console.error(f);
process.exit(faults.length ? 1 : 0);
