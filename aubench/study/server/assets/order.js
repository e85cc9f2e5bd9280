// The ranking itself: which image stands at which place, with undo. No page, no network.

export class Order {
  constructor(images) {
    this.images = images;
    this.places = images.map(() => null);
    this.history = [];
  }

  rankOf(image) {
    return this.places.indexOf(image);
  }

  get full() {
    return this.places.every((image) => image !== null);
  }

  get left() {
    return this.places.filter((image) => image === null).length;
  }

  // Put an image at a place; who stood there goes where the image came from.
  put(image, place) {
    const from = this.rankOf(image);
    if (from === place) return false;
    this.remember();
    const other = this.places[place];
    if (from >= 0) this.places[from] = other;
    this.places[place] = image;
    return true;
  }

  take(image) {
    const from = this.rankOf(image);
    if (from < 0) return false;
    this.remember();
    this.places[from] = null;
    return true;
  }

  // Of two images, put this one first.
  choose(image) {
    if (this.rankOf(image) === 0) return false;
    this.remember();
    this.places = [image, ...this.images.filter((other) => other !== image)];
    return true;
  }

  clear() {
    if (this.places.every((image) => image === null)) return false;
    this.remember();
    this.places = this.places.map(() => null);
    return true;
  }

  nextFree() {
    return this.places.indexOf(null);
  }

  remember() {
    this.history.push([...this.places]);
  }

  undo() {
    if (!this.history.length) return false;
    this.places = this.history.pop();
    return true;
  }

  // Restore a draft; anything that does not fit these images is ignored.
  restore(places) {
    const known = (image) => image === null || this.images.includes(image);
    const given = Array.isArray(places) ? places.filter((image) => image !== null) : [];
    if (!Array.isArray(places) || places.length !== this.places.length) return;
    if (!places.every(known) || new Set(given).size !== given.length) return;
    this.places = [...places];
  }
}
