"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const PAGE = 30, storageKey = "distill-review-" + data.page;
  const state = {task: data.tasks[0].task, sort: "worst", filter: "all", page: 0, index: 0, drawing: false};
  const viewer = distillViewer($("viewer"));
  viewer.tools.append($("draw"), $("region-count"));
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

  // ---- verdicts
  const isOnPage = new Set(data.items.map(idOf)), elsewhere = data.verdicts.filter((v) => !isOnPage.has(idOf(v)));
  function keep() {
    try { localStorage.setItem(storageKey, JSON.stringify([...verdicts])); } catch (error) { /* a full or forbidden store: the download still works */ }
    if (data.server) save();
  }
  let saving = false, unsaved = false;
  async function save() {  // one request at a time, so that an older one cannot arrive last
    unsaved = true;
    if (saving) return;
    saving = true;
    while (unsaved) {
      unsaved = false;
      try {
        const reply = await fetch(data.server + "verdicts", {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(file())});
        if (!reply.ok) say("the server could not save the verdicts (" + reply.status + "); download them");
      } catch (error) { say("the server is gone; download the verdicts"); }
    }
    saving = false;
  }
  function restore() {
    const earlier = () => { for (const v of data.verdicts) if (isOnPage.has(idOf(v))) verdicts.set(idOf(v), {verdict: v.verdict, classes: [...v.ignore_classes], regions: v.ignore_regions}); };
    earlier();
    try {
      for (const [id, v] of JSON.parse(localStorage.getItem(storageKey) || "[]"))
        if (isOnPage.has(id)) verdicts.set(id, {verdict: ["accept", "reject"].includes(v.verdict) ? v.verdict : null, classes: v.classes.map(String), regions: v.regions});
    } catch (error) { verdicts = new Map(); earlier(); }
    if (data.server) earlier();  // its file is newer than what a browser kept
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
    return {format: data.format, reviewed: data.reviewed, verdicts: [...elsewhere, ...rows]};
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
    const first = state.page * PAGE, part = shown.slice(first, first + PAGE), focused = [...document.querySelectorAll("#thumbs button")].indexOf(document.activeElement);
    $("thumbs").replaceChildren(...part.map((item, offset) => {
      const v = verdictOf(item), words = v.verdict ? v.verdict + "ed" : v.classes.length || v.regions.length ? "partly ignored" : "";
      const pair = el("span", {className: "pair"});
      const line = el("span", {className: "line"}, el("span", {textContent: item.name}), el("b", {textContent: words || number(item.quality)}));
      const button = el("button", {type: "button", className: v.verdict ? "mark-" + v.verdict : ""}, pair, line);
      button.setAttribute("aria-label", `${first + offset + 1} of ${shown.length}: ${item.name}, quality ${number(item.quality)}${words ? ", " + words : ""}`);
      button.setAttribute("aria-current", first + offset === state.index);
      button.onclick = () => { open(first + offset); viewer.stage.scrollIntoView({block: "nearest"}); };
      pictures(item).then((p) => pair.replaceChildren(el("img", {src: p.photo, alt: ""}), el("img", {src: p.label, alt: ""}))).catch(() => {});
      return el("li", {}, button);
    }));
    if (focused >= 0) document.querySelectorAll("#thumbs button")[focused]?.focus();
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
    loaded = null;  // a key pressed before the next label is shown must not judge the one before
    let p;
    try { p = await pictures(item); } catch (error) { return; }
    if (turn !== loading) return;
    if (!await viewer.show(p) || turn !== loading) return;
    loaded = {item, p};
    describe();
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
    viewer.regions(v.regions);
    $("region-count").textContent = v.regions.length ? `${v.regions.length} ignored region${v.regions.length > 1 ? "s" : ""}` : "";
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
    $("draw").setAttribute("aria-pressed", on);
    viewer.draw(on ? addRegion : null);
    say(on ? "drag around the region to ignore; Escape ends" : "");
  }
  function addRegion(region) {
    if (!loaded) return;
    change(loaded.item, (v) => { v.regions.push(region); });
    say("region ignored");
    after();
  }
  function tabs() {
    document.querySelectorAll("#tasks button").forEach((button) => button.setAttribute("aria-pressed", button.dataset.task === state.task));
  }

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
    previous: () => turnPage(-1), next: () => turnPage(1),
  };
  for (const [id, action] of Object.entries(actions)) $(id).addEventListener("click", action);
  const keys = {
    a: actions.accept, r: actions.reject, u: back, d: actions.draw, i: () => ignore(viewer.under()?.name),
    j: () => open(state.index + 1), k: () => open(state.index - 1), ArrowRight: () => open(state.index + 1), ArrowLeft: () => open(state.index - 1),
    s: download,
    n: () => { if (!$("next").disabled) turnPage(1); }, p: () => { if (!$("previous").disabled) turnPage(-1); }, Escape: () => draw(false),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || ["SELECT", "INPUT"].includes(event.target.tagName)) return;
    if (viewer.press(event)) return;
    const action = keys[event.key] || keys[event.key.toLowerCase()];
    if (action) { event.preventDefault(); action(); }
  });
  restore();
  tabs();
  choose();
  list();
  open(0);
})();
