// Questions about the rater, and the size of the window.

import { t } from "./words.js";

const byId = (id) => document.getElementById(id);

function field(question) {
  const id = `q-${question.id}`;
  if (question.kind !== "choice") {
    const input = document.createElement("input");
    input.type = question.kind === "number" ? "number" : "text";
    input.id = id;
    input.maxLength = 1000;
    return input;
  }
  const select = document.createElement("select");
  select.id = id;
  for (const option of ["", ...question.options]) {
    const element = document.createElement("option");
    element.value = option;
    element.textContent = option || t("choose_option");
    select.append(element);
  }
  return select;
}

export function showForm(questions) {
  byId("questions").replaceChildren(
    ...questions.map((question) => {
      const line = document.createElement("p");
      const label = document.createElement("label");
      label.htmlFor = `q-${question.id}`;
      label.textContent = question.required ? `${question.text} *` : question.text;
      const input = field(question);
      if (question.required) input.setAttribute("aria-required", "true");
      line.append(label, input);
      return line;
    }),
  );
}

// The body to send, or null where a required answer is missing.
export function readForm(questions) {
  const answers = {};
  for (const question of questions) {
    const value = byId(`q-${question.id}`).value.trim();
    if (!value && question.required) return null;
    if (value) answers[question.id] = question.kind === "number" ? Number(value) : value;
  }
  return { answers, width: innerWidth, height: innerHeight };
}
