// The faces and places of one trial: tap, drag and keys, all ending in the same few moves.

import { enableDrag } from "./drag.js";
import { Order } from "./order.js";
import { t } from "./words.js";

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

  // `task` is rank, pairs (the chosen face comes first), or a rating of a single face.
  show(images, places, reference, task) {
    this.order = new Order(images);
    this.order.restore(places);
    this.target = null;
    this.reference = reference;
    this.pairs = task === "pairs";
    this.single = !this.pairs && task !== "rank";
    this.shown = null;
    this.buildCards(images);
    this.buildSlots(this.pairs || this.single ? [] : images);
    for (const id of ["slots", "undo", "clear"]) byId(id).hidden = this.pairs || this.single;
    for (const element of document.querySelectorAll(".last")) element.textContent = images.length;
    this.render();
  }

  picture(image) {
    const picture = document.createElement("img");
    picture.alt = "";
    picture.draggable = false;
    picture.addEventListener("error", () => this.alarm(t("broken")));
    picture.src = this.url(image);
    return picture;
  }

  enlarger(image, words) {
    const enlarge = document.createElement("button");
    enlarge.type = "button";
    enlarge.className = "enlarge";
    enlarge.textContent = "⤢";
    enlarge.setAttribute("aria-label", words);
    enlarge.addEventListener("click", () => this.enlarge(image));
    return enlarge;
  }

  buildReference() {
    const item = document.createElement("li");
    item.className = "reference";
    const holder = document.createElement("div");
    holder.className = "still";
    const picture = this.picture(this.reference);
    picture.alt = t("reference");
    const label = document.createElement("span");
    label.className = "label";
    label.textContent = t("reference");
    label.setAttribute("aria-hidden", "true");
    holder.append(picture, label);
    item.append(holder, this.enlarger(this.reference, t("enlarge_reference")));
    return item;
  }

  buildCards(images) {
    this.cards = new Map();
    const items = images.map((image, index) => {
      const item = document.createElement("li");
      const card = document.createElement(this.single ? "div" : "button");
      card.className = "card";
      const label = document.createElement("span");
      label.className = "label";
      const name = document.createElement("span");
      name.textContent = this.single ? "" : letter(index);
      const rank = document.createElement("span");
      rank.className = "rank";
      label.append(name, rank);
      card.append(this.picture(image), label);
      if (!this.single) {
        card.type = "button";
        card.dataset.image = image;
        card.addEventListener("click", () => this.toggle(image));
      }
      item.append(card, this.enlarger(image, t("enlarge", { letter: letter(index) })));
      this.cards.set(image, { card, rank });
      return item;
    });
    if (this.reference) items.unshift(this.buildReference());
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
        ends.textContent = place === 0 ? t("best") : place === last ? t("least") : "\u00a0";
        item.append(slot, ends);
        return item;
      }),
    );
  }

  name(image) {
    if (image === this.reference) return t("reference");
    return t("face", { letter: letter(this.order.images.indexOf(image)) });
  }

  // Where a face stands, in words.
  standing(image) {
    const place = this.order.rankOf(image);
    if (this.pairs) return t(place === 0 ? "chosen" : "not_chosen");
    return place < 0 ? t("no_place") : t("place", { n: place + 1 });
  }

  titled(image) {
    const plain = this.single || image === this.reference;
    return plain ? this.name(image) : `${this.name(image)}, ${this.standing(image)}`;
  }

  render() {
    for (const [image, { card, rank }] of this.cards) {
      const place = this.order.rankOf(image);
      const marked = this.pairs ? place === 0 : place >= 0;
      if (!marked) delete card.dataset.rank;
      else card.dataset.rank = place + 1;
      rank.textContent = !marked ? "" : this.pairs ? "✓" : place + 1;
      if (this.single) continue;
      card.setAttribute("aria-label", this.titled(image));
      if (this.pairs) card.setAttribute("aria-pressed", String(marked));
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
    const values = { n: place + 1, face: image ? this.name(image) : "" };
    slot.setAttribute("aria-label", t(image ? "slot_filled" : "slot_empty", values));
  }

  changed(words) {
    this.alarm("");
    this.render();
    this.saved(this.order.places);
    const left = this.order.left;
    this.say(this.pairs ? words : `${words} ${left ? t("said_left", { n: left }) : t("said_full")}`);
  }

  put(image, place) {
    this.target = null;
    if (this.single) return;
    if (this.pairs) return this.choose(image);
    const words = t("said_put", { face: this.name(image), n: place + 1 });
    if (this.order.put(image, place)) this.changed(words);
  }

  choose(image) {
    if (this.order.choose(image)) this.changed(this.titled(image));
  }

  take(image) {
    if (this.pairs || this.single) return;
    if (this.order.take(image)) this.changed(t("said_taken", { face: this.name(image) }));
  }

  toggle(image) {
    if (this.pairs) this.choose(image);
    else if (this.target !== null) this.put(image, this.target);
    else if (this.order.rankOf(image) >= 0) this.take(image);
    else this.put(image, this.order.nextFree());
  }

  touchSlot(place) {
    const image = this.order.places[place];
    if (image) return this.take(image);
    this.target = this.target === place ? null : place;
    this.render();
    this.say(this.target === null ? t("said_none") : t("said_next", { n: place + 1 }));
  }

  undo() {
    this.target = null;
    if (this.order.undo()) this.changed(t("said_undone"));
  }

  clear() {
    if (this.order.clear()) this.changed(t("said_cleared"));
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
    if (event.altKey || event.target.closest("summary, .ratings")) return;
    const image = event.target.closest(".card, .slot")?.dataset.image;
    const place = Number(event.key) - 1;
    const control = event.ctrlKey || event.metaKey;
    const letterKey = event.key.toLowerCase();
    if (control ? letterKey === "z" : letterKey === "u") this.undo();
    else if (control) return;
    else if (letterKey === "s") this.wish();
    else if (event.key === "?") this.help();
    else if (image && place >= 0 && place < this.order.images.length) this.put(image, place);
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
      const images = this.reference ? [this.reference, ...this.order.images] : this.order.images;
      const at = images.indexOf(this.shown) + step + images.length;
      this.shown = images[at % images.length];
      this.renderDialog();
      this.say(byId("large-title").textContent);
    };
    byId("large-close").addEventListener("click", close);
    byId("large-before").addEventListener("click", () => turn(-1));
    byId("large-after").addEventListener("click", () => turn(1));
    byId("large").addEventListener("close", () => this.cards.get(this.shown)?.card.focus());
    byId("large-compare").addEventListener("click", () => {
      this.comparing = !this.comparing;
      this.renderDialog();
    });
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
    this.comparing = false;
    const buttons = this.slots.map((_, place) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = place + 1;
      button.setAttribute("aria-label", t("slot", { n: place + 1 }));
      button.addEventListener("click", () => this.put(this.shown, place));
      return button;
    });
    byId("large-ranks").replaceChildren(...buttons);
    byId("large").showModal();
    this.renderDialog();
    byId("large-title").focus();
  }

  renderDialog() {
    const own = this.shown && this.shown === this.reference;
    if (!own && !this.cards.has(this.shown)) return;
    const place = this.order.rankOf(this.shown);
    const both = Boolean(this.reference) && !own;
    byId("large-image").src = this.url(this.shown);
    byId("large-reference").hidden = !both;
    if (both) byId("large-reference").src = this.url(this.reference);
    byId("large").classList.toggle("comparing", both && this.comparing);
    byId("large-compare").hidden = !both;
    byId("large-compare").setAttribute("aria-pressed", String(this.comparing));
    byId("large-ranks").hidden = own;
    byId("large-title").textContent = this.titled(this.shown);
    [...byId("large-ranks").children].forEach((button, index) =>
      button.setAttribute("aria-pressed", String(index === place)),
    );
  }

  // Whether every picture could be seen.
  get complete() {
    return [...document.querySelectorAll(".cards img")].every(
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
