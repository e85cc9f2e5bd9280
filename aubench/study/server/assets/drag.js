// Dragging by mouse, pen and touch. Touch drags begin after a short hold, so that a swipe scrolls;
// in places that never scroll (`data-hold="no"`) they begin at once.

const HOLD_MS = 220;
const SLACK = 6;

// `handle(element)` tells the image an element carries, or null; `drop(image, target)` ends a drag.
export function enableDrag(root, { handle, picture, drop, hover }) {
  let drag = null;
  let swallow = false;

  function begin() {
    if (!drag || drag.active) return;
    drag.active = true;
    drag.ghost = document.createElement("img");
    drag.ghost.src = picture(drag.image);
    drag.ghost.alt = "";
    drag.ghost.className = "ghost";
    document.body.append(drag.ghost);
    drag.source.classList.add("dragging");
    follow(drag.x, drag.y);
  }

  function follow(x, y) {
    drag.ghost.style.transform = `translate(${x}px, ${y}px)`;
    hover(document.elementFromPoint(x, y));
  }

  function end() {
    if (!drag) return;
    clearTimeout(drag.timer);
    drag.ghost?.remove();
    drag.source.classList.remove("dragging");
    hover(null);
    drag = null;
  }

  root.addEventListener("pointerdown", (event) => {
    const source = event.target.closest("[data-image]");
    const image = source && handle(source);
    swallow = false;
    if (!image || event.button !== 0 || drag) return;
    const touch = event.pointerType === "touch" && source.dataset.hold !== "no";
    drag = { image, source, touch, pointer: event.pointerId, x: event.clientX, y: event.clientY };
    drag.startX = drag.x;
    drag.startY = drag.y;
    if (touch) drag.timer = setTimeout(begin, HOLD_MS);
  });

  window.addEventListener("pointermove", (event) => {
    if (!drag || event.pointerId !== drag.pointer) return;
    drag.x = event.clientX;
    drag.y = event.clientY;
    const far = Math.hypot(drag.x - drag.startX, drag.y - drag.startY) > SLACK;
    if (!drag.active && far) {
      if (drag.touch) return end(); // moved before the hold was over: a swipe
      begin();
    }
    if (drag?.active) follow(drag.x, drag.y);
  });

  window.addEventListener("pointerup", (event) => {
    if (!drag || event.pointerId !== drag.pointer) return;
    const { active, image } = drag;
    const target = active ? document.elementFromPoint(event.clientX, event.clientY) : null;
    end();
    if (active) {
      swallow = true;
      setTimeout(() => (swallow = false), 50);
      drop(image, target);
    }
  });

  window.addEventListener("pointercancel", end);
  window.addEventListener("blur", end);
  window.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && drag?.active) end();
  });
  root.addEventListener("touchmove", (event) => drag?.active && event.preventDefault(), {
    passive: false,
  });
  root.addEventListener("contextmenu", (event) => {
    if (event.target.closest("[data-image]")) event.preventDefault();
  });
  // The click that follows a drag is no click.
  root.addEventListener(
    "click",
    (event) => {
      if (!swallow) return;
      swallow = false;
      event.stopPropagation();
      event.preventDefault();
    },
    true,
  );
}
