import { launch, narrow, resize, rules, tab } from "./page.mjs";

// `server` is the process to stop in the end, to see what the page says then.
const [out, url, server] = process.argv.slice(2);
const origin = new URL(url).origin;
const MARKUP = `<img src=x onerror="window.broken = 1">`;
const CLICKABLE = "a[href], button:not([tabindex='-1']), input, select, textarea, [tabindex='0']";

const faults = [];
let part = "", refusals = false;
const fault = (text) => faults.push(`${part}: ${text}`);
const expect = (holds, text) => { if (!holds) fault(text); };

const browser = await launch();
const page = await browser.newPage();
// Browsers themselves write about a status of 4xx and about a server that is gone.
page.on("console", (m) => {
  if (!(refusals && m.text().startsWith("Failed to load resource"))) fault(`console: ${m.text()}`);
});
page.on("pageerror", (e) => fault(`error: ${e.message}`));
page.on("request", (r) => {
  const local = r.url().startsWith("data:") || new URL(r.url()).origin === origin;
  expect(local, `asks for ${r.url()}`);
});

const text = (at) => page.evaluate((at) => document.querySelector(at)?.innerText ?? "", at);
const number = (of) => page.evaluate((of) => document.querySelectorAll(of).length, of);
/** Waits for what should come, and says so when it does not. */
async function comes(what, test, ...args) {
  try {
    await page.waitForFunction(test, { timeout: 30_000, polling: 50 }, ...args);
    return true;
  } catch {
    fault(`${what} did not come`);
    return false;
  }
}
const answered = () => comes("an answer", () =>
  !document.querySelector("#form.busy") && document.querySelector("#docs > .doc"));
const press = async (...keys) => { for (const key of keys) await page.keyboard.press(key); };
const picture = (name) => page.screenshot({ path: `${out}/${name}.png`, fullPage: true });
const desktop = () => resize(page, 1280, 800);
const json = async (path, body) => (await fetch(url.replace(/\/$/, "") + path, body && {
  method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body),
})).json();
async function fresh(hash = "") {
  await page.goto("about:blank");
  await page.goto(url + hash, { waitUntil: "networkidle0" });
}

/** axe-core's rules in light and dark, with pictures of both and of a phone. */
async function look(name) {
  for (const scheme of ["light", "dark"]) {
    // Without movement, so that nothing is looked at halfway.
    await page.emulateMediaFeatures([
      { name: "prefers-color-scheme", value: scheme },
      { name: "prefers-reduced-motion", value: "reduce" },
    ]);
    await resize(page, 390, 844);
    await picture(`${name}-${scheme}-phone`);
    await desktop();
    await picture(`${name}-${scheme}`);
    const { hold, broken } = await rules(page, out);
    for (const text of broken) fault(`${scheme}: ${text}`);
    console.log(`${name} ${scheme}: ${hold} rules hold`);
  }
}
async function phones() {
  for (const width of [390, 360]) for (const text of await narrow(page, width)) fault(text);
  await desktop();
}
async function everywhere(selector = CLICKABLE) {
  const { reached, missed } = await tab(page, selector);
  for (const text of missed) fault(`the tab key does not reach ${text}`);
  console.log(`${part}: the tab key reaches ${reached} places`);
}

part = "before a question";
await desktop();
await fresh();
const about = await json("/about");
await look("start");
await phones();
await everywhere();
const offered = await page.$$eval("#examples button", (all) => all.map((e) => e.innerText.trim()));
if (!offered.length) {
  console.error("no question is offered, so nothing can be asked");
  process.exit(1);
}
expect(offered.every((q) => about.examples.includes(q)), "a question is not one of the data's");
expect((await text("#figures")).includes(about.documents.toLocaleString("en")),
  "the number of documents is not shown");

part = "an example";
await page.click("#examples button");
await answered();
expect((await text("#asked")) === offered[0], "the question is not shown over its answer");

part = "no question";
await fresh();
await press("Enter");
expect(/question/i.test(await text("#state")), "Enter in an empty box says nothing");
await look("no-question");

part = "by the keyboard";
const steps = (answer) => answer.documents.slice(0, 5)
  .flatMap((d) => d.paths.flatMap((p) => p.steps));
// The question offered whose paths come with the most sentences.
const answers = [];
for (const question of offered) answers.push(await json("/ask", { question, k: 20, paths: 3 }));
const sentencesOf = (answer) => steps(answer).filter((s) => s.sentence).length;
const told = answers.sort((a, b) => sentencesOf(b) - sentencesOf(a))[0];
const question = told.question;
await fresh();
await page.evaluate(() => document.activeElement.blur());
for (let i = 0; i < 30; i++) {
  if (await page.evaluate(() => document.activeElement.id === "q")) break;
  await press("Tab");
}
await page.keyboard.type(question);
await press("Enter");
await answered();
await everywhere();
// Not in the tab order, because the arrow keys go there: nodes and facts of a graph.
const unreached = await page.evaluate(async () => {
  const missed = [];
  for (const frame of document.querySelectorAll(".graph")) {
    const all = [...frame.querySelectorAll("button")];
    const reached = new Set([all.find((e) => e.tabIndex === 0)]);
    for (const from of reached) {
      for (const key of ["ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"]) {
        from?.focus();
        from?.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
        reached.add(document.activeElement);
      }
    }
    missed.push(...all.filter((e) => !reached.has(e)).map((e) => e.innerText));
  }
  return missed;
});
for (const name of unreached) fault(`the arrow keys do not reach "${name}"`);
// What looks as if it could be clicked and is no control. Lines of a graph have one beside them.
const mouse = await page.evaluate(() => [...document.body.querySelectorAll("*")]
  .filter((e) => getComputedStyle(e).cursor === "pointer")
  .filter((e) => !e.closest("a, button, select, input, label, .graph svg"))
  .map((e) => e.className));
for (const name of mouse) fault(`only a mouse can use .${name}`);

part = "an answer";
await fresh(`#q=${encodeURIComponent(question)}`);
await answered();
expect(/\d m?s\b/.test(await text("#meta")), "how long it took is not shown");
const starts = await number("#starts .origin");
expect(starts > 0 === told.start.length > 0, "where the search started is not shown");
const heaviest = told.start[0]?.label ?? "";
expect((await text("#starts")).includes(heaviest), `the start ${heaviest} is not shown`);
expect((await number("#docs > .doc")) === Math.min(5, told.documents.length), "documents lack");
const wanted = told.documents.slice(0, 5).filter((d) => d.sentence && d.text.includes(d.sentence));
expect((await number("#docs .text mark")) === wanted.length,
  `${await number("#docs .text mark")} of ${wanted.length} sentences are marked`);
await look("answer");
await phones();

part = "paths";
const walked = steps(told);
const sentences = new Set(walked.map((s) => s.sentence).filter(Boolean));
expect(!walked.length || (await number(".graph svg .wire")) > 0, "no path is drawn");
if (!sentences.size) console.log("paths: no step has a sentence in this store");
let shown = 0;
for (const edge of await page.$$(".graph button.edge")) {
  const name = await edge.evaluate((e) => e.getAttribute("aria-label"));
  for (const way of ["hover", "focus"]) {
    await (way === "hover" ? edge.hover() : edge.focus());
    const read = await edge.evaluate((e) => ({
      fact: e.closest(".canvas").querySelector(".read .fact")?.innerText,
      sentence: e.closest(".canvas").querySelector(".read blockquote")?.innerText.slice(1, -1),
    }));
    expect(read.fact && name.startsWith(read.fact.replace(/ —(.*)→ /, " $1 ")),
      `${way}: "${name}" shows "${read.fact}"`);
    if (name.includes("“")) expect(read.sentence && name.includes(read.sentence) &&
      sentences.has(read.sentence), `${way}: "${name}" shows the sentence "${read.sentence}"`);
    if (read.sentence) shown++;
  }
  await edge.evaluate((e) => e.blur());
  await page.mouse.move(0, 0);
}
expect(!sentences.size || shown > 0, "no step shows its sentence");
console.log(`paths: ${walked.length} steps, sentences shown ${shown} times`);
const edge = await page.$(".graph button.edge[aria-label*=' Read in ']") ??
  await page.$(".graph button.edge");
if (edge) {
  await edge.focus();
  await edge.evaluate((e) => e.closest(".doc").scrollIntoView());
  await page.screenshot({ path: `${out}/path.png` });
  // Enter goes to the source of a fact, and Escape back.
  await press("Enter");
  const source = await page.evaluate(() => !!document.activeElement.closest(".read"));
  const known = walked.some((s) => s.document != null);
  expect(source || !known, "Enter on a step does not lead to its source");
  if (source) {
    await press("Enter");
    await comes("the source", () => document.querySelector("#side[open] .inside .text"));
    await press("Escape");
    const back = await page.evaluate(() => !!document.activeElement.closest(".read"));
    expect(back, "the focus is lost when the document is closed");
  }
}
await page.click("#view button + button");
await page.evaluate(() => document.querySelectorAll(".walk button.edge").forEach((e) => e.click()));
await look("list");
await phones();
await page.click("#view button");

part = "why not";
// A document that was not among the first ones, and that no other is called like.
const titles = told.documents.map((d) => d.title);
const expected = told.documents.slice(5).find((d) =>
  d.title.trim().length > 2 && titles.filter((t) => t.includes(d.title)).length === 1);
if (expected) {
  await page.focus("#not");
  await page.keyboard.type(expected.title);
  const offers = await comes("its title", (title) => [...document.querySelectorAll("#not-list li")]
    .some((e) => e.innerText.trim() === title), expected.title);
  await picture("why-not-titles");
  const at = offers && await page.$$eval("#not-list li", (all, title) =>
    all.findIndex((e) => e.innerText.trim() === title), expected.title);
  for (let i = 0; offers && i <= at; i++) await press("ArrowDown");
  await press("Enter");
  await comes("the rank", () => document.querySelector("#found .doc"));
  expect(/\bRank \d/.test(await text("#found .of")) &&
    (await text("#found .of")).includes(`Rank ${expected.rank} `),
  `rank ${expected.rank} is shown as "${await text("#found .of")}"`);
  const drawn = await number("#found .graph, #found .walk");
  expect(drawn > 0 === expected.paths.some((p) => p.steps.length), "paths lack");
  await page.$eval("#why", (e) => e.scrollIntoView());
  await look("why-not");
  await phones();
  await everywhere();
} else fault("no document beyond the first five to ask for");

part = "at the side";
await page.click("#docs .doc h3 button");
await comes("the document", () => document.querySelector("#side[open] .inside .text"));
await look("document");
await phones();
await everywhere("#side button:not([hidden]), #side [tabindex='0']");
await press("Escape");
expect(!(await number("#side[open]")), "Escape does not close it");
if (starts) {
  await page.click("#starts .origin");
  await comes("the node", () => document.querySelector("#side[open] .inside h3"));
  await look("node");
  await phones();
  await press("Escape");
}
await page.click("#look");
await page.waitForSelector("#look-node");
await look("look-up");
await press("Escape");
await page.click("#options");
await look("options");
await phones();

part = "markup in a question";
await fresh();
await page.type("#q", MARKUP);
await press("Enter");
await comes("what became of it", () => !document.querySelector("#form.busy") &&
  !(document.querySelector("#answer").hidden && !document.querySelector("#fault").firstChild));
expect((await text("#main")).includes(MARKUP), "it is not shown as it was asked");
refusals = true;
if (await page.$("#answer:not([hidden]) #not")) {
  await page.type("#not", MARKUP);
  await press("Enter");
  await comes("a word about the title", () => document.querySelector("#why-fault .fault"));
  await phones();
}
refusals = false;
expect(!(await number("img")) && !(await page.evaluate(() => window.broken)), "it was run");

part = "markup in answers";
/** The same JSON with markup before every text, except for the words that the page compares. */
function spoilt(value, key) {
  if (Array.isArray(value)) return value.map((v) => spoilt(v, key));
  if (typeof value === "string") return ["source", "system"].includes(key) ? value : MARKUP + value;
  if (!value || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, spoilt(v, k)]));
}
await page.setRequestInterception(true);
const spoil = async (r) => {
  if (!["fetch", "xhr"].includes(r.resourceType())) return r.continue();
  const body = r.postData();
  const path = new URL(r.url()).pathname + new URL(r.url()).search;
  const answer = spoilt(await json(path, body && JSON.parse(body)));
  return r.respond({ contentType: "application/json", body: JSON.stringify(answer) });
};
page.on("request", spoil);
await fresh();
await fresh(`#q=${encodeURIComponent(question)}`);
await answered();
for (const place of ["#docs .doc h3 button", "#starts .origin"]) {
  if (!(await number(place))) continue;
  await page.click(place);
  await comes("the side", () => document.querySelector("#side[open] .inside :is(.chips, .facts)"));
  await press("Escape");
}
await phones();
await picture("markup");
expect((await text("#docs")).includes(MARKUP), "it is not shown as text");
expect(!(await number("img")) && !(await page.evaluate(() => window.broken)), "it was run");
page.off("request", spoil);
await page.setRequestInterception(false);

part = "a question that is refused";
refusals = true;
await fresh();
await page.$eval("#q", (e) => { e.value = "why ".repeat(1500); });
await page.focus("#q");
await press("Enter");
await comes("a message", () => document.querySelector("#fault .fault"));
expect(/too long/.test(await text("#fault")), `the message is "${await text("#fault")}"`);
await look("refused");
await phones();

part = "no server";
await fresh(`#q=${encodeURIComponent(question)}`);
await answered();
if (server) {
  process.kill(Number(server));
  for (let i = 0; i < 200; i++) {
    try { await fetch(url); } catch { break; }
    await new Promise((done) => setTimeout(done, 50));
  }
} else await page.setOfflineMode(true);
await page.focus("#q");
await press("End", "Space", "Enter");
await press("Enter");
await comes("a message", () => document.querySelector("#fault .fault"));
expect(/reached|offline/.test(await text("#fault")), `the message is "${await text("#fault")}"`);
expect((await page.$eval("#q", (e) => e.value.trim())) === question, "the question is lost");
await look("no-server");
await phones();
await everywhere();

await browser.close();
for (const f of faults) console.error(f);
process.exit(faults.length ? 1 : 0);
