// The faces and places of one trial: tap, drag and keys, all ending in the same few moves.

import { enableDrag } from "./drag.js";
import { Order } from "./order.js";

const byId = (id) => document.getElementById(id);
const letter = (index) => String.fromCharCode(65 + index);

export class Board {
  // `saved(places)` is told of every change, `submit()` of the wish to send.
  constructor({ saved, submit, help }) {
    this.saved = saved;
    this.wish = submit;
    this.help = help;
    this.order = null;
    this.target = null;
    byId("undo").addEventListener("click", () => this.undo());
    byId("clear").addEventListener("click", () => this.clear());
    byId("trial").addEventListener("keydown", (event) => this.key(event));
    enableDrag(byId("trial"), {
      handle: (element) => element.dataset.image || null,
      picture: (image) => this.url(image),
      drop: (image, element) => this.drop(image, element),
      hover: (element) => this.hover(element),
    });
    this.dialog();
  }

  url(image) {
    return `i/${image}`;
  }

  show(images, places) {
    this.order = new Order(images);
    this.order.restore(places);
    this.target = null;
    this.buildCards(images);
    this.buildSlots(images);
    for (const element of document.querySelectorAll(".last")) element.textContent = images.length;
    this.render();
  }

  buildCards(images) {
    this.cards = new Map();
    const items = images.map((image, index) => {
      const item = document.createElement("li");
      const card = document.createElement("button");
      card.type = "button";
      card.className = "card";
      card.dataset.image = image;
      const picture = document.createElement("img");
      picture.alt = "";
      picture.draggable = false;
      picture.addEventListener("error", () => this.alarm("A picture did not load. Reload the page."));
      picture.src = this.url(image);
      const label = document.createElement("span");
      label.className = "label";
      const name = document.createElement("span");
      name.textContent = `Face ${letter(index)}`;
      const rank = document.createElement("span");
      rank.className = "rank";
      label.append(name, rank);
      card.append(picture, label);
      card.addEventListener("click", () => this.toggle(image));
      const enlarge = document.createElement("button");
      enlarge.type = "button";
      enlarge.className = "enlarge";
      enlarge.textContent = "⤢";
      enlarge.setAttribute("aria-label", `Enlarge face ${letter(index)}`);
      enlarge.addEventListener("click", () => this.enlarge(image));
      item.append(card, enlarge);
      this.cards.set(image, { card, rank });
      return item;
    });
    byId("cards").replaceChildren(...items);
  }

  buildSlots(images) {
    const last = images.length - 1;
    this.slots = images.map((_, place) => {
      const slot = document.createElement("button");
      slot.type = "button";
      slot.className = "slot";
      slot.dataset.place = place;
      slot.dataset.hold = "no";
      slot.addEventListener("click", () => this.touchSlot(place));
      return slot;
    });
    byId("slots").style.setProperty("--slots", images.length);
    byId("slots").replaceChildren(
      ...this.slots.map((slot, place) => {
        const item = document.createElement("li");
        const ends = document.createElement("span");
        ends.className = "ends";
        ends.textContent = place === 0 ? "best" : place === last ? "least" : "\u00a0";
        item.append(slot, ends);
        return item;
      }),
    );
  }

  name(image) {
    return `Face ${letter(this.order.images.indexOf(image))}`;
  }

  render() {
    for (const [image, { card, rank }] of this.cards) {
      const place = this.order.rankOf(image);
      if (place < 0) delete card.dataset.rank;
      else card.dataset.rank = place + 1;
      rank.textContent = place < 0 ? "" : place + 1;
      const state = place < 0 ? "no place yet" : `place ${place + 1}`;
      card.setAttribute("aria-label", `${this.name(image)}, ${state}`);
    }
    this.slots.forEach((slot, place) => this.renderSlot(slot, place));
    const set = (id, enabled) => byId(id).setAttribute("aria-disabled", String(!enabled));
    set("undo", this.order.history.length > 0);
    set("clear", this.order.left < this.order.places.length);
    set("submit", this.order.full);
    this.renderDialog();
  }

  renderSlot(slot, place) {
    const image = this.order.places[place];
    const number = document.createElement("span");
    number.className = "number";
    number.textContent = place + 1;
    const parts = [number];
    if (image) {
      const picture = document.createElement("img");
      picture.src = this.url(image);
      picture.alt = "";
      picture.draggable = false;
      parts.unshift(picture);
      slot.dataset.image = image;
    } else {
      delete slot.dataset.image;
    }
    slot.replaceChildren(...parts);
    slot.classList.toggle("filled", Boolean(image));
    if (image) slot.removeAttribute("aria-pressed");
    else slot.setAttribute("aria-pressed", String(this.target === place));
    const what = image ? `${this.name(image)}; press to take it away` : "empty; press to fill it next";
    slot.setAttribute("aria-label", `Place ${place + 1}: ${what}`);
  }

  changed(words) {
    this.alarm("");
    this.render();
    this.saved(this.order.places);
    const left = this.order.left;
    this.say(`${words} ${left ? `${left} left.` : "All faces have a place; you can submit."}`);
  }

  put(image, place) {
    this.target = null;
    if (this.order.put(image, place)) this.changed(`${this.name(image)}: place ${place + 1}.`);
  }

  take(image) {
    if (this.order.take(image)) this.changed(`${this.name(image)}: no place.`);
  }

  toggle(image) {
    if (this.target !== null) this.put(image, this.target);
    else if (this.order.rankOf(image) >= 0) this.take(image);
    else this.put(image, this.order.nextFree());
  }

  touchSlot(place) {
    const image = this.order.places[place];
    if (image) return this.take(image);
    this.target = this.target === place ? null : place;
    this.render();
    this.say(this.target === null ? "No place chosen." : `Place ${place + 1} is filled next.`);
  }

  undo() {
    this.target = null;
    if (this.order.undo()) this.changed("Undone.");
  }

  clear() {
    if (this.order.clear()) this.changed("All places are free.");
  }

  hover(element) {
    const slot = element?.closest("[data-place]");
    for (const other of this.slots) other.classList.toggle("over", other === slot);
  }

  drop(image, element) {
    const slot = element?.closest("[data-place]");
    if (slot) this.put(image, Number(slot.dataset.place));
    else if (element?.closest("#cards")) this.take(image);
  }

  key(event) {
    if (event.altKey || event.target.closest("summary")) return;
    const image = event.target.closest(".card, .slot")?.dataset.image;
    const place = Number(event.key) - 1;
    const control = event.ctrlKey || event.metaKey;
    const letterKey = event.key.toLowerCase();
    if (control ? letterKey === "z" : letterKey === "u") this.undo();
    else if (control) return;
    else if (letterKey === "s") this.wish();
    else if (event.key === "?") this.help();
    else if (image && place >= 0 && place < this.slots.length) this.put(image, place);
    else if (image && ["Delete", "Backspace"].includes(event.key)) this.take(image);
    else if (image && letterKey === "e") this.enlarge(image);
    else if (!this.move(event)) return;
    event.preventDefault();
  }

  // Arrows go from face to face, or from place to place.
  move(event) {
    const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    const row = event.target.closest(".slot")
      ? this.slots
      : [...this.cards.values()].map(({ card }) => card);
    const at = row.indexOf(event.target.closest(".card, .slot"));
    if (!step || at < 0) return false;
    row[(at + step + row.length) % row.length].focus();
    return true;
  }

  dialog() {
    const close = () => byId("large").close();
    const turn = (step) => {
      const images = this.order.images;
      const at = images.indexOf(this.shown) + step + images.length;
      this.shown = images[at % images.length];
      this.renderDialog();
      this.say(byId("large-title").textContent);
    };
    byId("large-close").addEventListener("click", close);
    byId("large-before").addEventListener("click", () => turn(-1));
    byId("large-after").addEventListener("click", () => turn(1));
    byId("large").addEventListener("close", () => this.cards.get(this.shown)?.card.focus());
    byId("large").addEventListener("keydown", (event) => {
      const place = Number(event.key) - 1;
      if (event.key === "ArrowLeft") turn(-1);
      else if (event.key === "ArrowRight") turn(1);
      else if (place >= 0 && place < this.slots.length) this.put(this.shown, place);
      else return;
      event.preventDefault();
    });
  }

  enlarge(image) {
    this.shown = image;
    const buttons = this.slots.map((_, place) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = place + 1;
      button.setAttribute("aria-label", `Place ${place + 1}`);
      button.addEventListener("click", () => this.put(this.shown, place));
      return button;
    });
    byId("large-ranks").replaceChildren(...buttons);
    byId("large").showModal();
    this.renderDialog();
    byId("large-title").focus();
  }

  renderDialog() {
    if (!this.shown || !this.cards.has(this.shown)) return;
    const place = this.order.rankOf(this.shown);
    byId("large-image").src = this.url(this.shown);
    const state = place < 0 ? "no place yet" : `place ${place + 1}`;
    byId("large-title").textContent = `${this.name(this.shown)}, ${state}`;
    [...byId("large-ranks").children].forEach((button, index) =>
      button.setAttribute("aria-pressed", String(index === place)),
    );
  }

  // Whether every picture could be seen.
  get complete() {
    return [...document.querySelectorAll(".card img")].every(
      (picture) => picture.complete && picture.naturalWidth > 0,
    );
  }

  say(words) {
    byId("live").textContent = words;
  }

  alarm(words) {
    byId("alert").textContent = words;
  }
}
