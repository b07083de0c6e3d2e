// What the checks of pages share: this one, and that of a server's page (scripts/check-serve).
import { readFileSync } from "node:fs";
import puppeteer from "puppeteer-core";

const TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

export const launch = () => puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  // As root, Chromium has no sandbox.
  args: process.getuid() === 0 ? ["--no-sandbox", "--disable-gpu"] : ["--disable-gpu"],
});

/** Elements that are seen, and reach over the edge of the screen or of the part that shows them. */
export function cut(width) {
  const faults = [];
  for (const e of document.body.querySelectorAll("*")) {
    const box = e.getBoundingClientRect();
    // What only readers of screens get has the size of a point.
    if (box.width <= 1 || box.height <= 1 || e.closest(".unseen, .skip, thead")) continue;
    const text = (e.textContent ?? "").trim().slice(0, 40);
    const name = `${e.tagName.toLowerCase()}.${e.getAttribute("class") ?? ""} "${text}"`;
    if (box.right > width + 1 || box.left < -1) {
      faults.push(`${name} reaches from ${Math.round(box.left)} to ${Math.round(box.right)}`);
    }
    const hides = getComputedStyle(e).overflowX !== "visible";
    if (hides && e.scrollWidth > e.clientWidth + 1) {
      faults.push(`${name} shows ${e.clientWidth} of ${e.scrollWidth} pixels`);
    }
  }
  return faults.slice(0, 5);
}

/** Shows the page on a screen of this size. Pages that draw for the width they have do so with the
 * next frames. */
export async function resize(page, width, height) {
  await page.setViewport({ width, height });
  await page.evaluate(async () => {
    for (let i = 0; i < 3; i++) await new Promise(requestAnimationFrame);
  });
}

/** What a screen of this width cuts off, or has to be scrolled sideways for. */
export async function narrow(page, width) {
  await resize(page, width, 844);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  const faults = wide > width ? [`is ${wide} pixels wide on a screen of ${width}`] : [];
  for (const text of await page.evaluate(cut, width)) faults.push(`at ${width} pixels: ${text}`);
  return faults;
}

/** How many of axe-core's rules hold on the page as it is, and what breaks the others. */
export async function rules(page, out) {
  await page.evaluate(readFileSync(`${out}/node_modules/axe-core/axe.min.js`, "utf8"));
  const found = await page.evaluate((runOnly) => axe.run(document, { runOnly }), TAGS);
  const broken = found.violations.map((v) => {
    const places = v.nodes.slice(0, 3).map((n) => n.target.join(" ")).join(" | ");
    return `${v.id}: ${v.help}: ${places}`;
  });
  return { hold: found.passes.length, broken };
}

/** How many places the tab key reaches, and those of a selector that it does not. */
export async function tab(page, selector) {
  const wanted = await page.evaluate((selector) => {
    window.seen = new Set();
    document.addEventListener("focusin", (e) => window.seen.add(e.target));
    return document.querySelectorAll(selector).length;
  }, selector);
  for (let i = 0; i < wanted + 3; i++) await page.keyboard.press("Tab");
  return page.evaluate((selector) => {
    const visible = (e) => e.checkVisibility() && !e.disabled;
    const all = [...document.querySelectorAll(selector)].filter(visible);
    const missed = all.filter((e) => !window.seen.has(e));
    const name = (e) => `${e.tagName.toLowerCase()} "${(e.textContent ?? "").trim().slice(0, 40)}"`;
    return { reached: all.length - missed.length, missed: missed.map(name) };
  }, selector);
}
