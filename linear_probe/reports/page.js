"use strict";
// The task filter: buttons, and the address (report.html#task=pose).
const buttons = [...document.querySelectorAll("nav button")];
function show(task) {
  for (const button of buttons) {
    button.setAttribute("aria-pressed", String(button.dataset.task === task));
  }
  for (const section of document.querySelectorAll("section[data-task]")) {
    section.hidden = task !== "" && section.dataset.task !== task;
  }
}
for (const button of buttons) {
  button.addEventListener("click", () => show(button.dataset.task));
}
const asked = decodeURIComponent((location.hash.match(/^#task=(.+)$/) || ["", ""])[1]);
if (buttons.some((button) => button.dataset.task === asked)) show(asked);

// Sortable tables: numbers by their value, rows without one last, published rows below all.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") === "descending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const body = table.tBodies[0];
      const rows = [...body.rows].filter((row) => !row.classList.contains("published"));
      const last = [...body.rows].filter((row) => row.classList.contains("published"));
      const numeric = head.classList.contains("number");
      rows.sort((a, b) => {
        if (!numeric) return (up ? 1 : -1) * value(a).localeCompare(value(b));
        const [x, y] = [parseFloat(value(a)), parseFloat(value(b))];
        if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
        return up ? x - y : y - x;
      });
      body.append(...rows, ...last);
    });
  });
}
