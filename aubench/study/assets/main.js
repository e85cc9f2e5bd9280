// What to show now: asks the server, shows consent, trial or end, sends what the rater decides.

import { Board } from "./board.js";

const byId = (id) => document.getElementById(id);
const SECTIONS = ["message", "consent", "trial", "done"];
const MESSAGES = {
  full: ["All places are taken", "Please try again in an hour: a place may become free."],
  closed: ["The study has ended", "Thank you for your interest."],
  withdrawn: ["You have withdrawn", "Everything you stored was deleted."],
};

let state = null;
let sending = false;
let activeSince = null;
let activeMs = 0;

const board = new Board({
  saved: (places) => store({ trial: state.trial, places }),
  submit: () => submit(),
  help: () => byId("help").showModal(),
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
    else board.alarm(next.error ?? "Something went wrong. Please try again.");
    return response.ok;
  } catch {
    board.alarm("Not stored: no connection. Your order is kept; please try again.");
    return false;
  } finally {
    sending = false;
  }
}

function reveal(name) {
  for (const section of SECTIONS) byId(section).hidden = section !== name;
  byId("progress").hidden = name !== "trial";
  byId("help-open").hidden = name !== "trial";
  byId("withdraw-open").hidden = !["trial", "done"].includes(name);
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
}

function show(next, error = "") {
  const same = state?.trial && state.trial === next.trial;
  state = next;
  if (next.phase === "consent") showConsent(next);
  else if (next.phase === "done") reveal("done");
  else if (next.phase in MESSAGES) showMessage(...MESSAGES[next.phase]);
  else if (!same) showTrial(next);
  board.alarm(error ? `${error[0].toUpperCase()}${error.slice(1)}.` : "");
  if (!same) {
    window.scrollTo(0, 0);
    document.querySelector("section:not([hidden]) h1")?.focus();
  }
}

function showMessage(title, text, again = false) {
  reveal("message");
  byId("message-title").textContent = title;
  byId("message-text").textContent = text;
  byId("reload").hidden = !again;
}

function showConsent(next) {
  reveal("consent");
  const paragraphs = next.text.split(/\n\s*\n/).map((text) => {
    const paragraph = document.createElement("p");
    paragraph.textContent = text.replace(/\s+/g, " ").trim();
    return paragraph;
  });
  byId("consent-text").replaceChildren(...paragraphs);
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
  byId("count").textContent = practice ? "Practice" : `Set ${next.position + 1} of ${next.total}`;
  byId("meter").max = next.total;
  byId("meter").value = next.position;
  const kept = draft();
  board.show(next.images, kept?.trial === next.trial ? kept.places : null);
  activeMs = 0;
  activeSince = document.hidden ? null : performance.now();
  board.say(byId("count").textContent);
}

function pause() {
  if (activeSince !== null) activeMs += performance.now() - activeSince;
  activeSince = null;
}

async function submit() {
  if (!board.order?.full) {
    const left = board.order?.left ?? 0;
    board.alarm(`Give every face a place first: ${left} left.`);
    return;
  }
  if (!board.complete) {
    board.alarm("The pictures are still loading.");
    return;
  }
  pause();
  activeSince = performance.now();
  const trial = state.trial;
  const body = { trial, ranking: board.order.places, active_ms: Math.round(activeMs) };
  await send("rank", body);
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
    showMessage("Thank you", "Your remark is stored. You can close this page.");
  }
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
    else showMessage("This link does not work", next.error ?? "");
  } catch {
    showMessage("No connection", "The server does not answer. Nothing you stored is lost.", true);
  }
}

start();
