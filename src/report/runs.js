"use strict";
(() => {
  const table = document.querySelector("table.runs");
  const heads = [...table.tHead.rows[0].cells];
  const rows = [...table.tBodies[0].rows];
  const number = (text) => (text.trim() === "" ? NaN : Number(text));

  // What a row is sorted by: a number, a text, or undefined where the run lacks it.
  const key = (row, i) => {
    const cell = row.cells[i];
    const text = cell.dataset.number ?? cell.textContent.trim();
    if (text === "-" || text === "") return undefined;
    return Number.isNaN(number(text)) ? text : number(text);
  };
  const order = (a, b) => {
    if (typeof a === "string" && typeof b === "string") {
      return a.localeCompare(b, undefined, { numeric: true });
    }
    if (typeof a === typeof b) return a - b;
    return typeof a === "number" ? -1 : 1;
  };

  const sort = (i) => {
    const up = heads[i].getAttribute("aria-sort") !== "ascending";
    for (const head of heads) head.removeAttribute("aria-sort");
    heads[i].setAttribute("aria-sort", up ? "ascending" : "descending");
    const keyed = rows.map((row) => [key(row, i), row]);
    keyed.sort(([a], [b]) => {
      // What a run lacks comes last, either way.
      if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
      return up ? order(a, b) : order(b, a);
    });
    table.tBodies[0].append(...keyed.map(([, row]) => row));
  };

  heads.forEach((head, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(i));
    head.append(button);
  });

  const count = document.querySelector("#count");
  const filter = document.querySelector("#filter");
  filter.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
    const shown = rows.filter((row) => !row.hidden).length;
    count.textContent = `${shown} of ${rows.length} shown`;
  });

  // A column is shown or hidden as a whole.
  for (const box of document.querySelectorAll("#columns input")) {
    const i = Number(box.value);
    const show = () => {
      for (const cell of [heads[i], ...rows.map((row) => row.cells[i])]) cell.hidden = !box.checked;
    };
    box.addEventListener("change", show);
    show();
  }
  for (const part of document.querySelectorAll("[data-scripted]")) part.hidden = false;
})();
