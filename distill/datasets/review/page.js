"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const PAGE = 30, MAX_ZOOM = 16;
  const VIEWS = [["photo", "photo"], ["generated", "generated image"], ["label", "label"], ["over", "label over photo"], ["confidence", "confidence"]];
  const FAR_WARP = data.far_warp, storageKey = "distill-review-" + data.reviewed.sha256;
  const state = {task: data.tasks[0].task, sort: "worst", filter: "all", page: 0, index: 0, left: "photo", right: "over", split: 50, zoom: 1, x: 0, y: 0, drawing: false, path: null};
  let verdicts = new Map(), undo = [], shown = [], loaded = null, loading = 0;

  const el = (tag, values = {}, ...children) => {
    const node = Object.assign(document.createElement(tag), values);
    node.append(...children);
    return node;
  };
  const idOf = (item) => item.task + "\u0000" + item.key;
  const blank = () => ({verdict: null, classes: [], regions: []});
  const verdictOf = (item) => verdicts.get(idOf(item)) || blank();
  const number = (value) => value === null || value === undefined ? "none" : value.toFixed(2);

  // ---- pictures: in the page, or one request to the server that wrote it
  const cache = new Map();
  async function pictures(item) {
    if (data.pictures) return data.pictures[item.id];
    if (!cache.has(item.id)) {
      if (cache.size > 120) cache.delete(cache.keys().next().value);
      cache.set(item.id, fetch(data.server + "item/" + item.id).then((reply) => reply.ok ? reply.json() : Promise.reject(new Error("the server answered " + reply.status))));
    }
    try { return await cache.get(item.id); } catch (error) { cache.delete(item.id); say("this label cannot be shown: " + error.message); throw error; }
  }
  async function pixels(uri, width, height) {
    const image = new Image();
    image.src = uri;
    await image.decode();
    const canvas = el("canvas", {width, height});
    const context = canvas.getContext("2d", {willReadFrequently: true});
    context.drawImage(image, 0, 0);
    return context.getImageData(0, 0, width, height).data;
  }

  function confidencePicture(certainty, width, height) {
    const canvas = el("canvas", {width, height}), context = canvas.getContext("2d"), picture = context.createImageData(width, height);
    for (let i = 0; i < certainty.length; i += 4) {
      for (let channel = 0; channel < 3; channel++) picture.data[i + channel] = data.confidence_colors[3 * certainty[i] + channel];
      picture.data[i + 3] = 255;
    }
    context.putImageData(picture, 0, 0);
    return canvas.toDataURL();
  }

  // ---- verdicts
  function keep() {
    const rows = [...verdicts].filter(([, v]) => v.verdict || v.classes.length || v.regions.length);
    try { localStorage.setItem(storageKey, JSON.stringify(rows)); } catch (error) { /* a full or forbidden store: the download still works */ }
    if (data.server) fetch(data.server + "verdicts", {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(file())})
      .then((reply) => { if (!reply.ok) say("the server could not save the verdicts (" + reply.status + "); download them"); })
      .catch(() => say("the server is gone; download the verdicts"));
  }
  function restore() {
    const add = (key, task, value) => { if (data.items.some((item) => item.key === key && item.task === task)) verdicts.set(task + "\u0000" + key, value); };
    try {
      for (const [id, v] of JSON.parse(localStorage.getItem(storageKey) || "[]")) {
        const [task, key] = id.split("\u0000");
        add(key, task, {verdict: ["accept", "reject"].includes(v.verdict) ? v.verdict : null, classes: v.classes.map(String), regions: v.regions});
      }
    } catch (error) { verdicts = new Map(); }
    for (const v of data.verdicts || []) add(v.key, v.task, {verdict: v.verdict, classes: [...v.ignore_classes], regions: v.ignore_regions});
  }
  function change(item, edit) {
    const before = structuredClone(verdictOf(item)), after = structuredClone(before);
    edit(after);
    undo.push([item, before]);
    verdicts.set(idOf(item), after);
    keep();
  }
  function file() {
    const rows = data.items.filter((item) => { const v = verdictOf(item); return v.verdict || v.classes.length || v.regions.length; }).map((item) => {
      const v = verdictOf(item);
      return {key: item.key, task: item.task, verdict: v.verdict, ignore_classes: v.classes, ignore_regions: v.regions, quality: item.quality, quality_parts: item.parts};
    });
    return {format: data.format, reviewed: data.reviewed, verdicts: rows};
  }
  function download() {
    const link = el("a", {href: URL.createObjectURL(new Blob([JSON.stringify(file(), null, 1)], {type: "application/json"})), download: "verdicts.json"});
    document.body.append(link);
    link.click();
    link.remove();
    say(file().verdicts.length + " verdicts downloaded");
  }

  // ---- list
  function choose() {
    const orders = {worst: null, best: (a, b) => (b.quality ?? -1) - (a.quality ?? -1), name: (a, b) => a.name < b.name ? -1 : a.name > b.name ? 1 : 0};
    shown = data.items.filter((item) => item.task === state.task && (state.filter === "all" || (verdictOf(item).verdict || "open") === state.filter));
    if (orders[state.sort]) shown.sort(orders[state.sort]);
    state.index = Math.min(state.index, Math.max(0, shown.length - 1));
    state.page = Math.floor(state.index / PAGE);
  }
  async function list() {
    const first = state.page * PAGE, part = shown.slice(first, first + PAGE);
    $("thumbs").replaceChildren(...part.map((item, offset) => {
      const v = verdictOf(item), words = v.verdict ? v.verdict + "ed" : v.classes.length || v.regions.length ? "partly ignored" : "";
      const pair = el("span", {className: "pair"});
      const line = el("span", {className: "line"}, el("span", {textContent: item.name}), el("b", {textContent: words || number(item.quality)}));
      const button = el("button", {type: "button", className: v.verdict ? "mark-" + v.verdict : ""}, pair, line);
      button.setAttribute("aria-label", `${first + offset + 1} of ${shown.length}: ${item.name}, quality ${number(item.quality)}${words ? ", " + words : ""}`);
      button.setAttribute("aria-current", first + offset === state.index);
      button.onclick = () => { open(first + offset); $("stage").scrollIntoView({block: "nearest"}); };
      pictures(item).then((p) => pair.replaceChildren(el("img", {src: p.photo, alt: ""}), el("img", {src: p.label, alt: ""}))).catch(() => {});
      return el("li", {}, button);
    }));
    const pages = Math.max(1, Math.ceil(shown.length / PAGE));
    $("pages").textContent = `page ${state.page + 1} of ${pages}`;
    $("previous").disabled = state.page === 0;
    $("next").disabled = state.page + 1 >= pages;
    const all = data.items.filter((item) => item.task === state.task), decided = all.filter((item) => verdictOf(item).verdict).length;
    const total = data.tasks.find((row) => row.task === state.task).total;
    $("count").textContent = `${decided} of ${all.length} judged` + (total > all.length ? ` (of ${total} in the set)` : "");
    $("undo").disabled = !undo.length;
    $("download").disabled = !file().verdicts.length;
    $("empty").classList.toggle("hidden", shown.length > 0);
    $("work").classList.toggle("hidden", shown.length === 0);
  }

  // ---- one label
  async function open(index) {
    if (!shown.length) return;
    state.index = Math.max(0, Math.min(index, shown.length - 1));
    if (Math.floor(state.index / PAGE) !== state.page) { state.page = Math.floor(state.index / PAGE); list(); }
    document.querySelectorAll("#thumbs button").forEach((button, offset) => button.setAttribute("aria-current", state.page * PAGE + offset === state.index));
    const item = shown[state.index], turn = ++loading;
    Object.assign(state, {zoom: 1, x: 0, y: 0, path: null});
    let p;
    try { p = await pictures(item); } catch (error) { return; }
    if (turn !== loading) return;
    const certainty = await pixels(p.certainty, p.width, p.height);
    p.confidence ??= confidencePicture(certainty, p.width, p.height);
    if (turn !== loading) return;
    loaded = {item, p, values: null, certainty};
    const stage = $("stage");
    stage.style.aspectRatio = `${p.width} / ${p.height}`;
    stage.style.maxWidth = `calc(60vh * ${p.width / p.height})`;
    for (const side of ["left", "right"]) {
      const select = $(side);
      select.replaceChildren(...VIEWS.filter(([name]) => name !== "generated" || p.generated).map(([name, title]) => el("option", {value: name, textContent: title})));
      const fits = [...select.options].some((option) => option.value === state[side]);
      select.value = fits ? state[side] : side === "left" ? "photo" : "over";
    }
    paint();
    describe();
    $("read").textContent = "Point at the picture to read values.";
    const values = await pixels(p.values, p.width, p.height);
    if (turn === loading) loaded.values = values;
  }
  function layer(name) {
    const {p, item} = loaded, title = Object.fromEntries(VIEWS)[name];
    const image = (uri, className = "") => el("img", {src: uri, className, alt: `${title} of ${item.name}`, draggable: false});
    const found = name === "over" ? [image(p.photo), image(p.label, "mixed")] : [image(p[name])];
    if (name === "over") found[1].alt = "";
    return el("div", {className: "layer"}, ...found);
  }
  function paint() {
    const sheet = $("sheet"), right = layer($("right").value), svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    right.id = "over";
    svg.setAttribute("viewBox", "0 0 1 1");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    svg.id = "regions";
    sheet.replaceChildren(layer($("left").value), right, svg);
    regions();
    place();
  }
  function regions() {
    const svg = $("regions");
    if (!svg || !loaded) return;
    const shapes = verdictOf(loaded.item).regions.map((region) => ["polygon", region]);
    if (state.path) shapes.push(["polyline", state.path]);
    svg.replaceChildren(...shapes.map(([tag, points]) => {
      const shape = document.createElementNS("http://www.w3.org/2000/svg", tag);
      shape.setAttribute("points", points.map((point) => point.join(",")).join(" "));
      return shape;
    }));
  }
  function place() {
    const stage = $("stage"), sheet = $("sheet"), {clientWidth: width, clientHeight: height} = stage;
    state.x = Math.min(0, Math.max(state.x, width * (1 - state.zoom)));
    state.y = Math.min(0, Math.max(state.y, height * (1 - state.zoom)));
    sheet.style.transform = `translate(${state.x}px,${state.y}px) scale(${state.zoom})`;
    sheet.classList.toggle("near", state.zoom >= 3);
    const at = width * state.split / 100;
    $("divider").style.left = at + "px";
    if ($("over")) $("over").style.clipPath = `inset(0 0 0 ${Math.max(0, (at - state.x) / state.zoom)}px)`;
    $("split").value = state.split;
    $("zoom").textContent = Math.round(100 * state.zoom) + " %";
    stage.dataset.zoom = state.zoom.toFixed(2);
  }
  function zoom(factor, x, y) {
    const stage = $("stage"), before = state.zoom;
    x ??= stage.clientWidth / 2;
    y ??= stage.clientHeight / 2;
    state.zoom = Math.min(MAX_ZOOM, Math.max(1, before * factor));
    state.x = x - (x - state.x) * state.zoom / before;
    state.y = y - (y - state.y) * state.zoom / before;
    place();
  }
  function describe() {
    const {item, p} = loaded, v = verdictOf(item);
    $("name").textContent = item.name;
    $("where").textContent = `${state.index + 1} of ${shown.length}, sample ${item.key}`;
    const facts = [["quality", number(item.quality)]];
    if (typeof p.expected_error === "number" && p.expected_error >= 0) facts.push(["expected error", p.expected_error.toPrecision(3)]);
    facts.push(["pixels with a value", (100 * p.valid).toFixed(1) + " %"]);
    for (const [name, value] of Object.entries(item.parts)) facts.push([name.replaceAll("_", " "), number(value)]);
    for (const name of ["teacher", "model", "license"]) if (p[name]) facts.push([name, p[name]]);
    $("facts").replaceChildren(...facts.map(([name, value]) => el("div", {}, el("dt", {textContent: name}), el("dd", {textContent: value}))));
    $("prompt").textContent = p.prompt ? "Prompt: " + p.prompt : "";
    for (const kind of ["accept", "reject"]) $(kind).setAttribute("aria-pressed", v.verdict === kind);
    const names = [...new Set(Object.values(p.names))];
    $("classes").replaceChildren(...names.map((name) => {
      const color = Object.entries(p.names).find(([id, other]) => other === name && p.colors[id]);
      const chip = color ? [el("i", {style: `background:rgb(${p.colors[color[0]].join(",")})`})] : [];
      const button = el("button", {type: "button", title: "ignore this class in this label"}, ...chip, el("span", {textContent: name}));
      button.setAttribute("aria-pressed", v.classes.includes(name));
      button.setAttribute("aria-label", `ignore ${name}`);
      button.onclick = () => ignore(name);
      return el("li", {}, button);
    }));
    $("class-title").classList.toggle("hidden", !names.length);
    $("region-count").textContent = v.regions.length ? `${v.regions.length} ignored region${v.regions.length > 1 ? "s" : ""}` : "";
    regions();
  }
  function valueAt(column, row) {
    const {p, item, values, certainty} = loaded;
    if (!values) return null;
    const i = 4 * (row * p.width + column), [r, g, b] = [values[i], values[i + 1], values[i + 2]], word = r << 8 | g;
    const sure = `confidence ${(certainty[i] / 255).toFixed(2)}`;
    const kinds = {
      depth() {
        if (!word) return null;
        if (!p.metric) return `${((word - 1) / 65534).toFixed(3)} (relative)`;
        return word / 65535 > FAR_WARP ? "sky" : `${(10 * ((1 - word / 65535) ** -0.5 - 1)).toFixed(2)} m`;
      },
      normals() {
        if (!r && !g && !b) return null;
        const n = [1 - 2 * r / 255, 2 * g / 255 - 1, 2 * b / 255 - 1], size = Math.hypot(...n) || 1;
        const [x, y, z] = n.map((one) => one / size), turn = (Math.acos(Math.min(1, Math.max(-1, z))) * 180 / Math.PI).toFixed(0);
        return `x ${x.toFixed(2)} right, y ${y.toFixed(2)} up, z ${z.toFixed(2)} to the camera; ${turn} degrees from the view axis`;
      },
      classes: () => g === 255 ? null : p.names[g] ?? `class ${g}`,
      instances: () => word === 65535 ? null : word === 0 ? "background" : `${p.names[word] ?? "instance"} (id ${word})`,
      edges: () => g === 255 ? null : `edge probability ${(g / 254).toFixed(2)}`,
    };
    const text = kinds[item.drawing]();
    return {text: text === null ? "no label here" : `${text}; ${sure}`, name: item.drawing === "classes" ? p.names[g] : item.drawing === "instances" ? p.names[word] : undefined};
  }
  const inPhoto = (event) => {
    const box = $("sheet").getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map((one) => Math.min(1, Math.max(0, one)));
  };
  let under = null;
  function read(event) {
    if (!loaded) return;
    const [x, y] = inPhoto(event), column = Math.min(loaded.p.width - 1, Math.floor(x * loaded.p.width)), row = Math.min(loaded.p.height - 1, Math.floor(y * loaded.p.height));
    under = valueAt(column, row);
    if (under) $("read").textContent = under.text;
  }

  // ---- actions
  function say(text) { $("say").textContent = text; }
  function after() { const item = loaded && loaded.item; choose(); list(); if (!shown.length) { loaded = null; } else if (shown[state.index] !== item) open(state.index); else describe(); }
  function judge(verdict) {
    if (!loaded) return;
    const item = loaded.item, again = verdictOf(item).verdict === verdict;
    change(item, (v) => { v.verdict = again ? null : verdict; });
    say(again ? `${item.name}: verdict taken back` : `${item.name}: ${verdict}ed`);
    const last = state.index + 1 >= shown.length;
    if (!again && state.filter === "all" && !last) state.index += 1;
    after();
  }
  function ignore(name) {
    if (!loaded || name === undefined) { say("there is no class here"); return; }
    change(loaded.item, (v) => { v.classes = v.classes.includes(name) ? v.classes.filter((other) => other !== name) : [...v.classes, name]; });
    say(`${name}: ${verdictOf(loaded.item).classes.includes(name) ? "ignored" : "not ignored any more"}`);
    after();
  }
  function back() {
    const last = undo.pop();
    if (!last) return;
    verdicts.set(idOf(last[0]), last[1]);
    keep();
    if (last[0].task !== state.task) { state.task = last[0].task; tabs(); }
    choose();
    if (!shown.includes(last[0])) { state.filter = "all"; $("filter").value = "all"; choose(); }
    list();
    open(shown.indexOf(last[0]));
    say("undone");
  }
  function draw(on) {
    state.drawing = on;
    state.path = null;
    $("draw").setAttribute("aria-pressed", on);
    say(on ? "drag around the region to ignore; Escape ends" : "");
    regions();
  }
  function tabs() {
    document.querySelectorAll("#tasks button").forEach((button) => button.setAttribute("aria-pressed", button.dataset.task === state.task));
  }

  const stage = $("stage"), pointers = new Map();
  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, event);
    if (state.drawing) state.path = [inPhoto(event)];
  });
  stage.addEventListener("pointermove", (event) => {
    read(event);
    const before = pointers.get(event.pointerId);
    if (!before) return;
    pointers.set(event.pointerId, event);
    const box = stage.getBoundingClientRect();
    if (pointers.size === 2) {
      const [a, b] = [...pointers.values()], gap = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
      if (stage.gap) zoom(gap / stage.gap, (a.clientX + b.clientX) / 2 - box.left, (a.clientY + b.clientY) / 2 - box.top);
      stage.gap = gap;
    } else if (state.drawing && state.path) {
      state.path.push(inPhoto(event));
      regions();
    } else if (state.zoom > 1) {
      state.x += event.clientX - before.clientX;
      state.y += event.clientY - before.clientY;
      place();
    } else {
      state.split = Math.min(100, Math.max(0, 100 * (event.clientX - box.left) / box.width));
      place();
    }
  });
  for (const kind of ["pointerup", "pointercancel"]) stage.addEventListener(kind, (event) => {
    pointers.delete(event.pointerId);
    stage.gap = 0;
    const path = state.path;
    if (!path) return;
    state.path = null;
    const spread = [0, 1].map((axis) => Math.max(...path.map((p) => p[axis])) - Math.min(...path.map((p) => p[axis])));
    if (path.length > 2 && Math.min(...spread) > 0.005) {
      const step = Math.ceil(path.length / 200), region = path.filter((_, i) => i % step === 0).map((p) => p.map((one) => Math.round(one * 1e4) / 1e4));
      if (region.length > 2) { change(loaded.item, (v) => { v.regions.push(region); }); say("region ignored"); after(); return; }
    }
    regions();
  });
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    const box = stage.getBoundingClientRect();
    zoom(event.deltaY < 0 ? 1.25 : 0.8, event.clientX - box.left, event.clientY - box.top);
  }, {passive: false});
  $("split").addEventListener("input", (event) => { state.split = Number(event.target.value); place(); });
  for (const side of ["left", "right"]) $(side).addEventListener("change", (event) => { state[side] = event.target.value; paint(); });
  for (const name of ["sort", "filter"]) $(name).addEventListener("change", (event) => { state[name] = event.target.value; state.index = 0; choose(); list(); open(0); });
  $("tasks").replaceChildren(...data.tasks.map((row) => {
    const button = el("button", {type: "button", textContent: `${row.title} (${row.shown})`});
    button.dataset.task = row.task;
    button.onclick = () => { state.task = row.task; state.index = 0; tabs(); choose(); list(); open(0); };
    return button;
  }));
  const turnPage = (step) => { state.index = (state.page + step) * PAGE; choose(); list(); open(state.index); };
  const actions = {
    accept: () => judge("accept"), reject: () => judge("reject"), undo: back, draw: () => draw(!state.drawing), download,
    previous: () => turnPage(-1), next: () => turnPage(1), "zoom-in": () => zoom(1.5), "zoom-out": () => zoom(1 / 1.5), fit: () => { state.zoom = 1; place(); },
  };
  for (const [id, action] of Object.entries(actions)) $(id).addEventListener("click", action);
  const keys = {
    a: actions.accept, r: actions.reject, u: back, d: actions.draw, i: () => ignore(under ? under.name : undefined),
    j: () => open(state.index + 1), k: () => open(state.index - 1), ArrowRight: () => open(state.index + 1), ArrowLeft: () => open(state.index - 1),
    "+": actions["zoom-in"], "=": actions["zoom-in"], "-": actions["zoom-out"], 0: actions.fit, s: download,
    "[": () => { state.split = Math.max(0, state.split - 10); place(); }, "]": () => { state.split = Math.min(100, state.split + 10); place(); },
    n: () => { if (!$("next").disabled) turnPage(1); }, p: () => { if (!$("previous").disabled) turnPage(-1); }, Escape: () => draw(false),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || ["SELECT", "INPUT"].includes(event.target.tagName)) return;
    const action = keys[event.key] || keys[event.key.toLowerCase()];
    if (action) { event.preventDefault(); action(); }
  });
  addEventListener("resize", place);
  restore();
  tabs();
  choose();
  list();
  open(0);
})();
