// Live progress of a study; everything is shown as text, remarks included.

import { t } from "./words.js";

const byId = (id) => document.getElementById(id);
const RATERS = {
  rater: "rater", place: "place", status: "status", answered: "answered",
  median_seconds: "median", seen_at: "seen", remark: "remark", erase: "erase",
};
const TRIALS = {
  trial: "trial", combination: "combination", answers: "answers", median_seconds: "median",
};

function cell(kind, text) {
  const element = document.createElement(kind);
  element.textContent = text ?? "";
  return element;
}

async function erase(rater) {
  if (!confirm(t("erase_sure", { n: rater }))) return;
  await fetch("erase", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ rater }),
  });
  refresh();
}

function field(name, row) {
  if (name === "seen_at") {
    return cell("td", row[name] ? new Date(1000 * row[name]).toLocaleString() : "");
  }
  if (name === "status") return cell("td", t(row[name]));
  if (name !== "erase") return cell("td", row[name]);
  const holder = cell("td");
  if (row.status !== "withdrawn") {
    const button = cell("button", t("erase"));
    button.type = "button";
    button.addEventListener("click", () => erase(row.rater));
    holder.append(button);
  }
  return holder;
}

function fill(table, columns, rows) {
  const head = document.createElement("tr");
  for (const title of Object.values(columns)) {
    const element = cell("th", t(title));
    element.scope = "col";
    head.append(element);
  }
  const lines = rows.map((row) => {
    const line = document.createElement("tr");
    line.append(...Object.keys(columns).map((name) => field(name, row)));
    return line;
  });
  table.replaceChildren(head, ...lines);
}

async function refresh() {
  try {
    const response = await fetch("progress", { cache: "no-store" });
    const found = await response.json();
    const { places, raters } = found;
    const words = [
      t("places", places),
      ...Object.entries(raters).map(([name, count]) => `${t(name)}: ${count}`),
      `${t("links")}: ${found.links}`,
    ];
    byId("counts").replaceChildren(...words.map((text) => cell("span", text)));
    byId("state").textContent = found.closed ? t("closed") : t("open");
    fill(byId("raters"), RATERS, found.rows);
    fill(byId("trials"), TRIALS, found.trials);
  } catch {
    byId("state").textContent = t("silent");
  }
}

refresh();
setInterval(refresh, 5000);
