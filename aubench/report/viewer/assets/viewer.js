"use strict";
// Shows the samples of data.js: a list of which only what is in sight exists, and one sample large.
(() => {
  const view = window.AUBENCH_VIEW;
  const { samples, models, readers, aus } = view;
  const total = samples.id.length;
  const byId = (id) => document.getElementById(id);
  const element = (tag, content = "", kind = "") => {
    const made = document.createElement(tag);
    if (content !== "") made.textContent = content;
    if (kind) made.className = kind;
    return made;
  };

  // Numbers -------------------------------------------------------------------------------------
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const unpacked = {};
  for (const [name, { targets, models: made }] of Object.entries(view.readings)) {
    unpacked[name] = { targets: bytes(targets), models: made.map(bytes) };
  }
  const labels = samples.labels.map((row) => [...row].map(Number));
  const known = Object.fromEntries(readers.map((reader) => [reader.name, reader]));
  const seen = (reader, model, i, k) => {
    const found = unpacked[reader];
    return (model === null ? found.targets : found.models[model])[12 * i + k] / 255;
  };
  const readable = readers.filter((reader) => unpacked[reader.name]);
  const missing = (model, i) => models[model].missing[i];
  // 1 - sum of (p - t)^2 over sum of t^2: 0 for a neutral face, null where nothing was commanded.
  const skill = (reader, model, i) => {
    let off = 0, all = 0;
    for (let k = 0; k < 12; k += 1) {
      if (!known[reader].knows[k]) continue;
      const t = labels[i][k];
      off += (seen(reader, model, i, k) - t) ** 2;
      all += t;
    }
    return all ? 1 - off / all : null;
  };
  const worst = (model, i) => {
    const all = readable.map((reader) => skill(reader.name, model, i)).filter((v) => v !== null);
    return all.length ? Math.min(...all) : null;
  };
  const disagreement = (model, i) => {
    let most = 0;
    for (const one of readable) {
      for (const other of readable) {
        let sum = 0, n = 0;
        for (let k = 0; k < 12; k += 1) {
          if (!one.knows[k] || !other.knows[k]) continue;
          sum += Math.abs(seen(one.name, model, i, k) - seen(other.name, model, i, k));
          n += 1;
        }
        if (n) most = Math.max(most, sum / n);
      }
    }
    return most;
  };

  const points = (() => {
    if (!view.points) return null;
    const place = new Map(view.points.kept.map((point, at) => [point, at]));
    const lines = Object.values(view.contours).map((line) => line.map((p) => place.get(p)));
    const width = view.points.kept.length;
    const decode = (text) => {
      const raw = new DataView(bytes(text).buffer);
      return (i) => {
        if (raw.getInt16(4 * i * width, true) === -32768) return null;
        return view.points.kept.map((_, p) => [0, 1].map(
          (axis) => raw.getInt16(2 * (2 * (i * width + p) + axis), true) / view.subPixels));
      };
    };
    return {
      lines,
      reference: decode(view.points.reference),
      target: decode(view.points.targets),
      models: view.points.models.map(decode),
    };
  })();

  // What is chosen, as the address keeps it ------------------------------------------------------
  const orders = [["protocol", "order of the protocol", null, false]];
  if (readable.length) {
    orders.push(["worst", "worst AU skill", worst, false]);
    if (readable.length > 1) orders.push(["disagree", "disagreement of readers", disagreement, true]);
  }
  for (const score of view.scores) {
    const value = (model, i) => score.models[model][i];
    orders.push([score.name, `worst ${score.title}`, value, !score.higher]);
  }
  const usual = {
    sort: readable.length ? "worst" : "protocol", model: "0", au: "", combination: "", find: "",
    points: "", arrows: "", sample: "", mode: "",
  };
  const chosen = { ...usual };
  const fromAddress = () => {
    const given = new URLSearchParams(location.hash.slice(1));
    for (const name of Object.keys(usual)) chosen[name] = given.get(name) ?? usual[name];
    if (!orders.some(([name]) => name === chosen.sort)) chosen.sort = usual.sort;
    if (!models[Number(chosen.model)]) chosen.model = "0";
  };
  const toAddress = () => {
    const kept = Object.entries(chosen).filter(([name, value]) => value !== usual[name]);
    const text = new URLSearchParams(kept).toString();
    history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
  };
  const ofModel = () => Number(chosen.model);

  const option = (value, text) => new Option(text, value);
  byId("sort").append(...orders.map(([name, title]) => option(name, title)));
  byId("model").append(...models.map((model, m) => option(String(m), model.name)));
  byId("au").append(...aus.map((au) => option(String(au), `AU${au}`)));
  const counts = new Map();
  for (const name of samples.combination) counts.set(name, (counts.get(name) ?? 0) + 1);
  const names = [...counts].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0], "en"));
  byId("combination").append(...names.map(([name, n]) => option(name, `${name} (${n})`)));
  const checks = new Set(["points", "arrows"]);
  const controls = ["sort", "model", "au", "combination", "find", "points", "arrows"];
  for (const name of checks) byId(name).disabled = !points;
  byId("about").textContent =
    `${view.dataset}/${view.protocol} ${view.version}, ${total} of ${view.of} samples, ` +
    `${view.size} px, sha256 ${view.sha256}; readers: ` +
    (readable.map((reader) => `${reader.name} (${reader.family || "?"})`).join(", ") || "none") +
    (view.faces ? "" : "; faces are restricted and left out: --restricted-faces shows them");

  // The list -------------------------------------------------------------------------------------
  let rows = [];
  let now = 0;
  const choose = () => {
    const words = chosen.find.trim().toLowerCase();
    const au = chosen.au === "" ? -1 : aus.indexOf(Number(chosen.au));
    rows = [...samples.id.keys()].filter((i) =>
      (au < 0 || labels[i][au]) &&
      (!chosen.combination || samples.combination[i] === chosen.combination) &&
      (!words || [samples.id[i], samples.subject[i], samples.text[i]].some(
        (text) => text.toLowerCase().includes(words))));
    const [, , value, downwards] = orders.find(([name]) => name === chosen.sort);
    if (value) {
      const values = new Map(rows.map((i) => [i, value(ofModel(), i)]));
      const last = (v) => v === null || Number.isNaN(v);
      rows.sort((a, b) => {
        const x = values.get(a), y = values.get(b);
        if (last(x) || last(y)) return last(x) - last(y) || a - b;
        return (downwards ? y - x : x - y) || a - b;
      });
    }
    byId("count").textContent = `${rows.length} of ${total}`;
  };

  const fixed = (value, digits = 2) => value === null || value === undefined ? "—" : value.toFixed(digits);
  const grade = (level) => level === null ? "" : "ABCDE"[Math.min(4, Math.max(0, Math.round(level) - 1))];
  const commanded = (i) => aus.map((au, k) => labels[i][k] ? `${au}${grade(samples.levels[i][k])}` : "")
    .filter(Boolean).join("+") || "neutral";
  // Faces fill the width of their card: at least three stand beside one another on a phone.
  const GAP = 5, EDGE = 24, LEAST = 128, MOST = 192;
  let across = LEAST;
  const side = () => across;

  const canvasOf = (canvas, size, draw) => {
    const ratio = Math.min(3, window.devicePixelRatio || 1);
    canvas.width = canvas.height = Math.round(size * ratio);
    const brush = canvas.getContext("2d");
    brush.scale(canvas.width / view.size, canvas.height / view.size);
    draw(brush);
  };
  const stroke = (brush, found, colour, width) => {
    brush.strokeStyle = colour;
    brush.lineWidth = width;
    for (const line of points.lines) {
      brush.beginPath();
      line.forEach((p, at) => brush[at ? "lineTo" : "moveTo"](...found[p]));
      brush.stroke();
    }
  };
  const LONGER = 3;
  const arrows = (brush, from, to, colour) => {
    brush.strokeStyle = brush.fillStyle = colour;
    brush.lineWidth = view.size / 220;
    const mean = (found) => [0, 1].map((axis) => found.reduce((sum, p) => sum + p[axis], 0) / found.length);
    const a = mean(from), b = mean(to);
    from.forEach(([x, y], p) => {
      const dx = LONGER * (to[p][0] - b[0] - x + a[0]), dy = LONGER * (to[p][1] - b[1] - y + a[1]);
      const length = Math.hypot(dx, dy);
      if (length < view.size / 90) return;
      brush.beginPath();
      brush.moveTo(x, y);
      brush.lineTo(x + dx, y + dy);
      brush.stroke();
      const head = view.size / 60, angle = Math.atan2(dy, dx);
      brush.beginPath();
      brush.moveTo(x + dx, y + dy);
      for (const turn of [2.6, -2.6]) {
        brush.lineTo(x + dx + head * Math.cos(angle + turn), y + dy + head * Math.sin(angle + turn));
      }
      brush.fill();
    });
  };
  const overlay = (what, i, size) => {
    if (!points || !(chosen.points || chosen.arrows)) return null;
    const at = (kind) => kind === "reference" || kind === "target" ? points[kind](i) : points.models[kind](i);
    const found = at(what), start = at("reference");
    if (!found) return null;
    const canvas = element("canvas");
    canvasOf(canvas, size, (brush) => {
      if (chosen.points) stroke(brush, found, "#ffd000", view.size / 180);
      if (chosen.arrows && what !== "reference" && start) arrows(brush, start, found, "#00e5ff");
    });
    return canvas;
  };
  const address = (what, i) => {
    if (what === "reference") return `images/reference/${samples.reference[i]}.webp`;
    if (what === "target") return `images/target/${i}.webp`;
    return `images/model-${what}/${i}.webp`;
  };
  const face = (what, i, size) => {
    const box = element("div", "", "face");
    box.style.width = box.style.height = `${size}px`;
    const lost = typeof what === "number" ? missing(what, i) : undefined;
    if (lost !== undefined) {
      box.append(element("span", lost));
    } else if (view.faces) {
      const image = element("img");
      image.loading = "lazy";
      image.decoding = "async";
      image.alt = `${typeof what === "number" ? models[what].name : what}, ${samples.id[i]}`;
      image.src = address(what, i);
      box.append(image);
    } else {
      box.append(element("span", "restricted"));
    }
    if (lost === undefined) {
      const over = overlay(what, i, size);
      if (over) box.append(over);
    }
    return box;
  };
  const nameOf = (what) => typeof what === "number" ? models[what].name : what;
  const kinds = ["reference", "target", ...models.keys()];
  const figure = (what, i, size) => {
    const made = element("figure");
    made.style.width = `${size}px`;
    made.append(face(what, i, size), element("figcaption", nameOf(what)));
    return made;
  };

  // What a reader sees, held against the command: what is added and what is lacking.
  const reading = (reader, model, i) => {
    const line = element("p", "", "read");
    line.append(`${reader.name} in ${models[model].name}: `);
    aus.forEach((au, k) => {
      if (!reader.knows[k]) return;
      const found = seen(reader.name, model, i, k) >= reader.thresholds[k];
      if (!found && !labels[i][k]) return;
      line.append(element(found && labels[i][k] ? "b" : "span", String(au),
        found ? (labels[i][k] ? "" : "more") : "less"), " ");
    });
    return line;
  };
  const lines = Math.min(3, readable.length);
  const cardHeight = () => side() + 74 + 16 * lines;
  const card = (at) => {
    const i = rows[at], model = ofModel();
    const made = element("div", "", "card");
    made.dataset.at = at;
    made.setAttribute("role", "button");
    const head = element("p");
    const value = worst(model, i);
    head.append(element("b", commanded(i)), ` · ${samples.id[i]}` +
      (value === null ? "" : ` · ${models[model].name}: least AU skill ${fixed(value)}`));
    const faces = element("div", "", "faces");
    faces.append(...kinds.map((what) => figure(what, i, side())));
    made.append(head, faces, ...readable.slice(0, 3).map((reader) => reading(reader, model, i)));
    made.append(element("p", samples.text[i], "text"));
    return made;
  };

  const list = byId("list"), run = byId("run");
  const shown = new Map();
  let columns = 1, wide = 0;
  const layout = () => {
    const width = list.clientWidth;
    columns = Math.max(1, Math.floor(width / Math.max(300, kinds.length * (LEAST + GAP) + EDGE)));
    wide = Math.floor(width / columns);
    const room = (count) => Math.floor((wide - EDGE) / count) - GAP;
    across = Math.min(MOST, Math.max(room(kinds.length), Math.min(LEAST, room(3))));
    run.style.height = `${Math.ceil(rows.length / columns) * cardHeight()}px`;
  };
  const draw = () => {
    const high = cardHeight();
    const from = Math.max(0, Math.floor(list.scrollTop / high) - 1) * columns;
    const to = Math.min(rows.length, (Math.ceil((list.scrollTop + list.clientHeight) / high) + 1) * columns);
    for (const [at, node] of shown) {
      if (at < from || at >= to) { node.remove(); shown.delete(at); }
    }
    for (let at = from; at < to; at += 1) {
      if (!shown.has(at)) {
        const node = card(at);
        node.style.width = `${wide}px`;
        node.style.height = `${high}px`;
        node.style.transform = `translate(${(at % columns) * wide}px, ${Math.floor(at / columns) * high}px)`;
        shown.set(at, node);
        run.append(node);
      }
      shown.get(at).classList.toggle("now", at === now);
    }
  };
  const redraw = () => {
    for (const node of shown.values()) node.remove();
    shown.clear();
    layout();
    draw();
  };
  let waiting = false;
  list.addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  }, { passive: true });
  new ResizeObserver(redraw).observe(list);

  const go = (at) => {
    if (!rows.length) return;
    now = Math.min(rows.length - 1, Math.max(0, at));
    const top = Math.floor(now / columns) * cardHeight();
    if (top < list.scrollTop) list.scrollTop = top;
    const low = top + cardHeight() - list.clientHeight;
    if (low > list.scrollTop) list.scrollTop = low;
    draw();
    if (dialog.open) open(now);
  };

  // One sample -----------------------------------------------------------------------------------
  const dialog = byId("sample");
  let timer = 0;
  const large = () => Math.min(2 * view.size, 256, Math.max(128, Math.floor((window.innerWidth - 60) / 2)));
  const open = (at) => {
    now = at;
    const i = rows[at];
    chosen.sample = samples.id[i];
    byId("sample-title").textContent = `${commanded(i)} · ${samples.id[i]} · ${samples.subject[i]}`;
    byId("sample-text").textContent = samples.text[i];
    byId("faces").replaceChildren(...kinds.map((what) => figure(what, i, large())));
    drawReadings(i);
    drawScores(i);
    drawPair(i);
    for (const [key, on] of [["b", chosen.mode === "blink"], ["s", chosen.mode === "slider"],
      ["p", chosen.points], ["m", chosen.arrows]]) {
      dialog.querySelector(`[data-key="${key}"]`).setAttribute("aria-pressed", String(Boolean(on)));
    }
    if (!dialog.open) dialog.showModal();
    toAddress();
  };
  const cells = (row, texts, tag = "td") => row.append(...texts.map((text) => element(tag, text)));
  const drawReadings = (i) => {
    const table = byId("readings"), head = element("tr"), body = element("tbody");
    cells(head, ["AU", "commanded"], "th");
    for (const reader of readable) {
      cells(head, [`target, ${reader.name}`, ...models.map((model) => `${model.name}, ${reader.name}`)], "th");
    }
    aus.forEach((au, k) => {
      const row = element("tr", "", labels[i][k] ? "asked" : "");
      const level = samples.levels[i][k];
      cells(row, [`AU${au}`], "th");
      cells(row, [labels[i][k] ? `${grade(level)} ${level === null ? "" : level.toFixed(1)}` : ""]);
      for (const reader of readable) {
        for (const model of [null, ...models.keys()]) {
          if (!reader.knows[k] || (model !== null && missing(model, i) !== undefined)) {
            cells(row, ["—"]);
            continue;
          }
          const p = seen(reader.name, model, i, k), found = p >= reader.thresholds[k];
          const cell = element("td", p.toFixed(2));
          if (found || labels[i][k]) cell.className = found === Boolean(labels[i][k]) ? "yes" : "no";
          const bar = element("i");
          bar.style.width = `${Math.round(30 * p)}px`;
          cell.append(bar);
          row.append(cell);
        }
      }
      body.append(row);
    });
    const last = element("tr");
    cells(last, ["AU skill"], "th");
    cells(last, [""]);
    for (const reader of readable) {
      for (const model of [null, ...models.keys()]) cells(last, [fixed(skill(reader.name, model, i))]);
    }
    body.append(last);
    const top = element("thead");
    top.append(head);
    table.replaceChildren(top, body);
    table.hidden = !readable.length;
  };
  const drawScores = (i) => {
    const table = byId("scores"), top = element("thead"), head = element("tr"), body = element("tbody");
    cells(head, ["score of the sample", ...models.map((model) => model.name)], "th");
    top.append(head);
    for (const score of view.scores) {
      const row = element("tr");
      cells(row, [`${score.title} ${score.higher ? "↑" : "↓"}`], "th");
      cells(row, models.map((_, m) => fixed(score.models[m][i], score.digits)));
      body.append(row);
    }
    table.replaceChildren(top, body);
    table.hidden = !view.scores.length;
  };
  const drawPair = (i) => {
    clearInterval(timer);
    const pair = byId("pair"), model = ofModel();
    pair.hidden = !chosen.mode || !view.faces || missing(model, i) !== undefined;
    if (pair.hidden) return;
    const size = Math.min(512, window.innerWidth - 40);
    pair.style.width = `${size}px`;
    pair.querySelector(".pair").style.height = `${size}px`;
    const front = byId("pair-front"), slider = byId("slider");
    [["pair-back", "reference"], ["pair-front", model]].forEach(([id, what]) => {
      const image = new Image();
      image.onload = () => canvasOf(byId(id), size, (brush) => brush.drawImage(image, 0, 0, view.size, view.size));
      image.src = address(what, i);
    });
    slider.parentElement.hidden = chosen.mode !== "slider";
    const cut = () => { front.style.clipPath = `inset(0 ${100 - slider.value}% 0 0)`; };
    slider.oninput = cut;
    front.style.visibility = "visible";
    if (chosen.mode === "slider") { cut(); return; }
    front.style.clipPath = "none";
    timer = setInterval(() => {
      front.style.visibility = front.style.visibility === "hidden" ? "visible" : "hidden";
    }, 500);
  };
  dialog.addEventListener("close", () => {
    clearInterval(timer);
    chosen.sample = "";
    toAddress();
    redraw();
    list.focus();
  });

  // Choosing by hand -----------------------------------------------------------------------------
  const show = () => {
    for (const name of controls) {
      if (checks.has(name)) byId(name).checked = Boolean(chosen[name]);
      else byId(name).value = chosen[name];
    }
    choose();
    const at = rows.findIndex((i) => samples.id[i] === chosen.sample);
    redraw();
    if (chosen.sample && at >= 0) { go(at); open(at); }
  };
  for (const name of controls) {
    byId(name).addEventListener("input", (event) => {
      chosen[name] = checks.has(name) ? (event.target.checked ? "1" : "") : event.target.value;
      now = 0;
      choose();
      list.scrollTop = 0;
      redraw();
      toAddress();
    });
  }
  run.addEventListener("click", (event) => {
    const node = event.target.closest(".card");
    if (node) { open(Number(node.dataset.at)); draw(); }
  });
  const flip = (name, value = "1") => {
    chosen[name] = chosen[name] === value ? "" : value;
    if (checks.has(name)) byId(name).checked = Boolean(chosen[name]);
    if (dialog.open) open(now); else { redraw(); toAddress(); }
  };
  const press = (key) => {
    if (key === "ArrowRight" || key === "j") go(now + 1);
    else if (key === "ArrowLeft" || key === "k") go(now - 1);
    else if (key === "ArrowDown") go(now + (dialog.open ? 1 : columns));
    else if (key === "ArrowUp") go(now - (dialog.open ? 1 : columns));
    else if (key === "Enter" && !dialog.open && rows.length) open(now);
    else if (key === "b") { if (!dialog.open) open(now); flip("mode", "blink"); }
    else if (key === "s") { if (!dialog.open) open(now); flip("mode", "slider"); }
    else if (key === "p" && points) flip("points");
    else if (key === "m" && points) flip("arrows");
    else if (key === "/") byId("find").focus();
    else if (key === "?") byId("keys").showModal();
    else if (key === "Escape" && dialog.open) dialog.close();
    else if (/^[1-9]$/.test(key) && models[Number(key) - 1]) {
      chosen.model = String(Number(key) - 1);
      byId("model").value = chosen.model;
      if (dialog.open) open(now); else { choose(); redraw(); toAddress(); }
    } else return false;
    return true;
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || byId("keys").open) return;
    const typed = event.target.closest("input[type=search], select, input[type=range]");
    if (typed && event.key !== "Escape") return;
    if (event.target.closest("button") && event.key === "Enter") return;
    if (press(event.key)) event.preventDefault();
  });
  dialog.addEventListener("click", (event) => {
    const button = event.target.closest("[data-key]");
    if (button) press(button.dataset.key);
  });
  byId("help").addEventListener("click", () => byId("keys").showModal());
  byId("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });
  addEventListener("hashchange", () => {
    fromAddress();
    if (!chosen.sample && dialog.open) dialog.close();
    show();
  });
  fromAddress();
  show();
})();
