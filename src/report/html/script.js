"use strict";
// Sorting, filtering and folding of tables. Nothing else needs this script.
(() => {
  const make = (name, text) => {
    const element = document.createElement(name);
    if (text) element.textContent = text;
    return element;
  };
  const value = (row, column) => {
    const cell = row.cells[column];
    const summary = cell.querySelector("summary");
    const text = (summary || cell).textContent.trim();
    return /^[\d,]+$/.test(text) ? Number(text.replaceAll(",", "")) : text;
  };
  const order = new Intl.Collator("en", { numeric: true });
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : order.compare(a, b);

  document.querySelectorAll("table.list").forEach((table) => {
    const body = table.tBodies[0];
    const rows = Array.from(body.rows);
    Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
      const button = make("button", head.textContent);
      button.type = "button";
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") === "descending" || !(head.hasAttribute("aria-sort") || head.classList.contains("r"));
        Array.from(table.tHead.rows[0].cells).forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const keyed = rows.map((row) => [value(row, column), row]);
        keyed.sort((a, b) => (up ? compare(a[0], b[0]) : compare(b[0], a[0])));
        body.append(...keyed.map((pair) => pair[1]));
      });
    });
    const tools = make("div");
    tools.className = "tools";
    const label = make("label", "Filter: ");
    const input = make("input");
    input.type = "search";
    label.append(input);
    const shown = make("output");
    tools.append(label);
    const folds = Array.from(body.querySelectorAll("details"));
    if (folds.length) {
      const fold = make("button", "Unfold all");
      fold.type = "button";
      fold.addEventListener("click", () => {
        const open = fold.textContent === "Unfold all";
        folds.forEach((one) => { one.open = open; });
        fold.textContent = open ? "Fold all" : "Unfold all";
      });
      tools.append(fold);
    }
    tools.append(shown);
    const texts = rows.map((row) => row.textContent.toLowerCase());
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      rows.forEach((row, at) => {
        const fits = words.every((word) => texts[at].includes(word));
        row.hidden = !fits;
        count += fits;
      });
      shown.textContent = words.length ? `${count} of ${rows.length} lines` : "";
    });
    table.parentElement.before(tools);
  });
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = Array.from(document.querySelectorAll("details:not([open])"));
    opened.forEach((one) => { one.open = true; });
  });
  addEventListener("afterprint", () => opened.forEach((one) => { one.open = false; }));
})();
