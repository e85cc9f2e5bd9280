// Ratings of a single face: a row of choices for each question.

import { t } from "./words.js";

const byId = (id) => document.getElementById(id);

export class Ratings {
  constructor(saved) {
    this.saved = saved;
    this.questions = [];
  }

  show(next, kept) {
    this.questions = next.questions;
    byId("ratings").replaceChildren(
      ...next.questions.map((question) => this.row(question, next, kept?.[question.id])),
    );
  }

  row(question, { low, high, task }, chosen) {
    const group = document.createElement("fieldset");
    const legend = document.createElement("legend");
    legend.textContent = question.text;
    const row = document.createElement("div");
    row.className = "steps";
    for (let value = low; value <= high; value++) {
      const label = document.createElement("label");
      const input = document.createElement("input");
      input.type = "radio";
      input.name = `r-${question.id}`;
      input.value = value;
      input.checked = chosen === value;
      input.addEventListener("change", () => this.saved(this.values));
      const words = document.createElement("span");
      words.textContent = task === "intensity" ? t(`intensity_${value}`) : value;
      input.setAttribute("aria-label", this.name(task, value, low, high));
      label.append(input, words);
      row.append(label);
    }
    group.append(legend, row);
    if (task === "likert") group.append(this.ends());
    return group;
  }

  ends() {
    const ends = document.createElement("div");
    ends.className = "scale-ends";
    ends.setAttribute("aria-hidden", "true");
    for (const key of ["likert_low", "likert_high"]) {
      const end = document.createElement("span");
      end.textContent = t(key);
      ends.append(end);
    }
    return ends;
  }

  name(task, value, low, high) {
    if (task === "intensity") return t(`intensity_${value}`);
    const ends = { [low]: t("likert_low"), [high]: t("likert_high") };
    return ends[value] ? `${value} ${ends[value]}` : `${value}`;
  }

  get values() {
    const found = {};
    for (const { id } of this.questions) {
      const input = document.querySelector(`input[name="r-${id}"]:checked`);
      if (input) found[id] = Number(input.value);
    }
    return found;
  }

  get left() {
    return this.questions.length - Object.keys(this.values).length;
  }
}
