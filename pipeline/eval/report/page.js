"use strict";
// A column is sorted by its numbers if every filled cell begins with one, else by its words.
function value(cell) {
  const text = cell.textContent.trim();
  const found = text.match(/^[+\-−]?\d+(\.\d+)?/);
  return { text, number: found ? parseFloat(found[0].replace("−", "-")) : NaN };
}
for (const table of document.querySelectorAll("table.sort")) {
  const body = table.tBodies[0];
  table.querySelectorAll("thead th").forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const rows = [...body.rows].map((row) => ({ row, ...value(row.cells[column]) }));
      const known = rows.filter((item) => item.text && item.text !== "–");
      const numbers = known.every((item) => !isNaN(item.number));
      const up = head.getAttribute("aria-sort") === (numbers ? "descending" : null) || (!numbers && head.getAttribute("aria-sort") !== "ascending");
      known.sort((a, b) => (numbers ? a.number - b.number : a.text.localeCompare(b.text)) * (up ? 1 : -1));
      // What has no value stays last.
      body.append(...known.map((item) => item.row), ...rows.filter((item) => !known.includes(item)).map((item) => item.row));
      table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
    });
  });
}
// A filter hides what lacks its value: <select data-filter="#id" data-key="classes"> and items with data-classes="a|b".
for (const bar of document.querySelectorAll(".filters")) {
  bar.hidden = false;
  const selects = [...bar.querySelectorAll("select")];
  const apply = () => {
    for (const item of document.querySelectorAll(bar.dataset.items)) {
      item.hidden = !selects.every((select) => !select.value || (item.dataset[select.dataset.key] || "").split("|").includes(select.value));
    }
  };
  selects.forEach((select) => select.addEventListener("change", apply));
}
for (const box of document.querySelectorAll("input[data-column]")) {
  box.addEventListener("change", () => {
    for (const cell of document.querySelectorAll(`[data-column-of="${box.dataset.column}"]`)) cell.hidden = !box.checked;
  });
}
const dialog = document.querySelector("dialog");
for (const button of document.querySelectorAll("button.open")) {
  button.addEventListener("click", () => {
    const picture = button.querySelector("img");
    dialog.querySelector("img").src = picture.src;
    dialog.querySelector("img").alt = picture.alt;
    dialog.querySelector("p").textContent = picture.alt;
    dialog.showModal();
  });
}
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
