// Live progress of a study; everything is shown as text, remarks included.

const byId = (id) => document.getElementById(id);
const RATERS = {
  rater: "Rater", place: "Place", status: "Status", answered: "Answered",
  median_seconds: "Median s", seen_at: "Last seen", remark: "Remark",
};
const TRIALS = {
  trial: "Trial", combination: "AUs", answers: "Answers", median_seconds: "Median s",
};

function cell(kind, text) {
  const element = document.createElement(kind);
  element.textContent = text ?? "";
  return element;
}

function fill(table, columns, rows) {
  const head = document.createElement("tr");
  for (const title of Object.values(columns)) {
    const element = cell("th", title);
    element.scope = "col";
    head.append(element);
  }
  const lines = rows.map((row) => {
    const line = document.createElement("tr");
    for (const name of Object.keys(columns)) {
      const time = name === "seen_at" && row[name];
      line.append(cell("td", time ? new Date(1000 * row[name]).toLocaleString() : row[name]));
    }
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
      `places: ${places.done} of ${places.all} done, ${places.held} held`,
      ...Object.entries(raters).map(([name, count]) => `${name}: ${count}`),
      `links: ${found.links}`,
    ];
    byId("counts").replaceChildren(...words.map((text) => cell("span", text)));
    byId("state").textContent = found.closed ? "The study is closed." : "The study is open.";
    fill(byId("raters"), RATERS, found.rows);
    fill(byId("trials"), TRIALS, found.trials);
  } catch {
    byId("state").textContent = "The server does not answer.";
  }
}

refresh();
setInterval(refresh, 5000);
