"use strict";
// Sorting and filtering of tables that are already in the page; without scripts they still read.
(() => {
  const root = document.documentElement;
  const store = {
    get: () => { try { return localStorage.getItem("aubench-theme"); } catch { return null; } },
    set: (value) => { try { localStorage.setItem("aubench-theme", value); } catch { /* no store */ } },
  };
  const stored = store.get();
  if (stored === "dark" || stored === "light") root.dataset.theme = stored;
  const toggle = document.getElementById("theme");
  if (toggle) {
    toggle.hidden = false;
    toggle.addEventListener("click", () => {
      const dark = root.dataset.theme
        ? root.dataset.theme === "dark"
        : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = dark ? "light" : "dark";
      store.set(root.dataset.theme);
    });
  }

  const value = (row, column) => {
    const cell = row.cells[column];
    if (column === 0) return cell.textContent.trim().toLowerCase();
    return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
  };
  const sort = (table, column, direction) => {
    const body = table.tBodies[0];
    const sign = direction === "ascending" ? 1 : -1;
    const rows = [...body.rows];
    rows.sort((a, b) => {
      const x = value(a, column), y = value(b, column);
      if (x === null || y === null) return (x === null) - (y === null);
      return sign * (x < y ? -1 : x > y ? 1 : 0);
    });
    body.append(...rows);
    for (const head of table.tHead.rows[0].cells) head.removeAttribute("aria-sort");
    table.tHead.rows[0].cells[column].setAttribute("aria-sort", direction);
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      head.querySelector("button").addEventListener("click", () => {
        const now = head.getAttribute("aria-sort");
        const first = head.dataset.higher === "yes" ? "descending" : "ascending";
        const other = first === "ascending" ? "descending" : "ascending";
        sort(table, column, now === first ? other : first);
      });
    });
  }

  const controls = {};
  for (const name of ["dataset", "protocol", "metric", "search", "controls"]) {
    controls[name] = document.getElementById(name);
  }
  if (!controls.dataset) return;
  const apply = () => {
    const metric = controls.metric.value;
    const words = controls.search.value.trim().toLowerCase();
    for (const section of document.querySelectorAll("section.board")) {
      const table = section.querySelector("table");
      const heads = [...table.tHead.rows[0].cells];
      const shown = heads.map((head, i) => i === 0 || !metric || head.dataset.id === metric);
      for (const row of table.rows) {
        [...row.cells].forEach((cell, i) => { cell.hidden = !shown[i]; });
      }
      let left = 0;
      for (const row of table.tBodies[0].rows) {
        const named = row.cells[0].textContent.toLowerCase().includes(words);
        row.hidden = !named || (row.classList.contains("control") && !controls.controls.checked);
        left += !row.hidden;
      }
      section.hidden =
        (controls.dataset.value && section.dataset.dataset !== controls.dataset.value) ||
        (controls.protocol.value && section.dataset.protocol !== controls.protocol.value) ||
        !shown.some((yes, i) => i > 0 && yes) || left === 0;
    }
    document.getElementById("nothing").hidden =
      [...document.querySelectorAll("section.board")].some((section) => !section.hidden);
  };
  for (const control of Object.values(controls)) control.addEventListener("input", apply);
  apply();
})();
