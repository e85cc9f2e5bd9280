// What to show now: asks the server, shows consent, trial or end, sends what the rater decides.

import { Board } from "./board.js";
import { readForm, showForm } from "./form.js";
import { Ratings } from "./rate.js";
import { t } from "./words.js";

const byId = (id) => document.getElementById(id);
const SECTIONS = ["message", "consent", "form", "own", "trial", "done"];
const MESSAGES = ["full", "closed", "withdrawn", "screened"];

let state = null;
let sending = false;
let activeSince = null;
let activeMs = 0;
let opened = null; // whether the rater wants to see the criteria; null: as the window allows

const board = new Board({
  saved: (places) => store({ trial: state.trial, places }),
  submit: () => submit(),
  help: () => byId("help").showModal(),
});
const ratings = new Ratings((values) => {
  store({ trial: state.trial, values });
  board.alarm("");
  byId("submit").setAttribute("aria-disabled", String(ratings.left > 0));
});

function store(draft) {
  try {
    if (draft) localStorage.setItem("draft", JSON.stringify(draft));
    else localStorage.removeItem("draft");
  } catch {
    // private mode: the draft is lost by a reload, nothing else is
  }
}

function draft() {
  try {
    return JSON.parse(localStorage.getItem("draft") ?? "null");
  } catch {
    return null;
  }
}

async function ask(path, body) {
  const options = { cache: "no-store" };
  if (body !== undefined) {
    options.method = "POST";
    options.headers = { "Content-Type": "application/json" };
    options.body = JSON.stringify(body);
  }
  for (let attempt = 0; ; attempt++) {
    const response = await fetch(path, options);
    if (response.status !== 429 || attempt === 4) return response;
    const wait = Number(response.headers.get("Retry-After") ?? 2);
    await new Promise((resolve) => setTimeout(resolve, 1000 * wait));
  }
}

// Send something and show what follows; returns false where nothing reached the server.
async function send(path, body) {
  if (sending) return false;
  sending = true;
  try {
    const response = await ask(path, body);
    const next = await response.json();
    if (next.phase) show(next, next.error);
    else alarm(next.error ?? t("failed"));
    return response.ok;
  } catch {
    alarm(t("offline"));
    return false;
  } finally {
    sending = false;
  }
}

function alarm(words) {
  board.alarm(words);
  byId("form-alert").textContent = words;
}

function reveal(name) {
  for (const section of SECTIONS) byId(section).hidden = section !== name;
  byId("progress").hidden = name !== "trial";
  byId("help-open").hidden = name !== "trial" || rated();
  byId("withdraw-open").hidden = !state || state.phase === "withdrawn";
  byId("preview").hidden = !state?.preview;
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
}

function rated() {
  return Boolean(state?.questions && state.trial);
}

function show(next, error = "") {
  const same = state?.trial && state.trial === next.trial;
  state = next;
  if (next.phase === "consent") showConsent(next);
  else if (next.phase === "form") {
    reveal("form");
    showForm(next.questions);
  } else if (next.phase === "page") showOwn(next);
  else if (next.phase === "done") {
    reveal("done");
    showEnd(byId("done-end"), next);
  } else if (MESSAGES.includes(next.phase)) {
    const text = next.device ? "screened_device" : `${next.phase}_text`;
    showMessage(t(next.phase), t(text));
    showEnd(byId("message-end"), next);
  } else if (!same) showTrial(next);
  alarm(error ? `${error[0].toUpperCase()}${error.slice(1)}.` : "");
  if (!same) {
    window.scrollTo(0, 0);
    document.querySelector("section:not([hidden]) h1")?.focus();
  }
}

// The code for the panel and the way back to it.
function showEnd(holder, { code, url }) {
  const end = byId("end").content.cloneNode(true);
  const [first, second] = [end.querySelector(".code"), end.querySelector(".back")];
  first.hidden = !code;
  first.querySelector("strong").textContent = code ?? "";
  second.hidden = !url;
  if (url) second.querySelector("a").href = url;
  holder.replaceChildren(end);
}

function showMessage(title, text, again = false) {
  reveal("message");
  byId("message-title").textContent = title;
  byId("message-text").textContent = text;
  byId("message-end").replaceChildren();
  byId("reload").hidden = !again;
}

function paragraphs(text) {
  return text.trim().split(/\n\s*\n/).map((part) => {
    const paragraph = document.createElement("p");
    paragraph.textContent = part.replace(/\s+/g, " ").trim();
    return paragraph;
  });
}

function showConsent(next) {
  reveal("consent");
  byId("consent-text").replaceChildren(...paragraphs(next.text));
}

function showOwn(next) {
  reveal("own");
  byId("own-title").textContent = next.title;
  byId("own-text").replaceChildren(...paragraphs(next.text));
}

function showTrial(next) {
  reveal("trial");
  const practice = next.phase === "practice";
  byId("practice-note").hidden = !practice;
  byId("trial-title").textContent = next.title;
  byId("region").textContent = next.region;
  byId("looks").replaceChildren(
    ...next.looks.map((look) => {
      const item = document.createElement("li");
      item.textContent = look;
      return item;
    }),
  );
  byId("text").textContent = next.text;
  byId("criteria").open = opened ?? matchMedia("(min-width: 48rem)").matches;
  byId("task").textContent = t(`task_${next.task}`, { n: next.images.length });
  byId("count").textContent = practice
    ? t("practice")
    : t("set", { n: next.position + 1, total: next.total });
  byId("meter").max = next.total;
  byId("meter").value = next.position;
  byId("trial").dataset.task = next.task;
  const kept = draft();
  const own = kept?.trial === next.trial ? kept : null;
  byId("ratings").hidden = !rated();
  if (rated()) ratings.show(next, own?.values);
  else byId("ratings").replaceChildren();
  board.show(next.images, own?.places, next.reference, next.task);
  if (rated()) byId("submit").setAttribute("aria-disabled", String(ratings.left > 0));
  activeMs = 0;
  activeSince = document.hidden ? null : performance.now();
  board.say(byId("count").textContent);
}

function pause() {
  if (activeSince !== null) activeMs += performance.now() - activeSince;
  activeSince = null;
}

// What is still to be done before the answer can be sent; empty: nothing.
function missing() {
  if (rated()) return ratings.left ? t("left_open", { n: ratings.left }) : "";
  const left = board.order?.left ?? 0;
  if (!left) return "";
  return state.task === "pairs" ? t("choose") : t("left_out", { n: left });
}

async function submit() {
  const left = missing();
  if (left || !board.complete) {
    board.alarm(left || t("loading"));
    return;
  }
  pause();
  activeSince = performance.now();
  const trial = state.trial;
  const body = { trial, active_ms: Math.round(activeMs) };
  if (rated()) await send("rate", { ...body, ratings: ratings.values });
  else await send("rank", { ...body, ranking: board.order.places });
  if (state.trial !== trial) store(null);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) pause();
  else activeSince = performance.now();
});
byId("submit").addEventListener("click", submit);
byId("agree").addEventListener("change", () =>
  byId("begin").setAttribute("aria-disabled", String(!byId("agree").checked)),
);
byId("begin").addEventListener("click", () => {
  if (byId("agree").checked) send("consent", { sha256: state.sha256 });
});
byId("send").addEventListener("click", async () => {
  if (await send("remark", { text: byId("remark").value })) {
    byId("remark").value = "";
    showMessage(t("stored"), t("stored_text"));
    showEnd(byId("message-end"), state);
  }
});
byId("form-send").addEventListener("click", () => {
  const body = readForm(state.questions);
  if (body) send("form", body);
  else alarm(t("required"));
});
byId("own-next").addEventListener("click", () => send("read", { page: state.page }));
byId("criteria").addEventListener("click", (event) => {
  const summary = event.target.closest("summary");
  if (summary?.parentElement === byId("criteria")) opened = !byId("criteria").open;
});
byId("help-open").addEventListener("click", () => byId("help").showModal());
byId("help-close").addEventListener("click", () => byId("help").close());
byId("withdraw-open").addEventListener("click", () => byId("withdraw").showModal());
byId("withdraw-close").addEventListener("click", () => byId("withdraw").close());
byId("withdraw-do").addEventListener("click", () => send("withdraw", {}));
byId("reload").addEventListener("click", () => location.reload());

async function start() {
  try {
    const response = await ask("state");
    const next = await response.json();
    if (next.phase) show(next);
    else showMessage(t("no_link"), next.error ?? "");
  } catch {
    showMessage(t("no_connection"), t("no_connection_text"), true);
  }
}

start();
