// Viewer of one label: two of its pictures with a slider between them, zoom, and its values under the pointer.
const distillViewer = (root) => {
  const COLORS = $confidence_colors, FAR_WARP = $far_warp, MAX_ZOOM = 16, PAN = 0.1;
  const el = (tag, values = {}, ...children) => {
    const node = Object.assign(document.createElement(tag), values);
    node.append(...children);
    return node;
  };
  const svgOf = (tag, values) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(values)) node.setAttribute(name, value);
    return node;
  };
  const state = {left: "photo", right: "over", split: 50, zoom: 1, x: 0, y: 0, path: null, drawing: null, regions: []};
  let sample = null, values = null, certainty = null, turn = 0, under = null;

  // ---- elements
  const sheet = el("div", {className: "sheet"}), divider = el("div", {className: "divider"});
  const stage = el("div", {className: "stage", tabIndex: 0}, sheet, divider);
  stage.setAttribute("role", "group");
  stage.setAttribute("aria-label", "Pictures of the label; arrow keys move, plus and minus zoom, brackets move the slider, 0 fits");
  const read = el("p", {className: "read"}), size = el("span", {className: "note size"});
  const left = el("select"), right = el("select"), split = el("input", {type: "range", min: 0, max: 100, value: 50});
  left.setAttribute("aria-label", "Left picture");
  right.setAttribute("aria-label", "Right picture");
  split.setAttribute("aria-label", "Border between the two pictures, percent");
  const button = (text, label, action) => {
    const node = el("button", {type: "button", textContent: text, onclick: action});
    node.setAttribute("aria-label", label);
    return node;
  };
  const tools = el("div", {className: "bar"}, button("\u2212", "Zoom out", () => zoom(1 / 1.5)), size,
    button("+", "Zoom in", () => zoom(1.5)), button("Fit", "Show the whole picture", () => fit()));
  root.classList.add("viewer");
  root.replaceChildren(stage, read, el("div", {className: "split"}, left, split, right), tools);

  // ---- pictures
  async function pixels(uri, width, height) {
    const image = new Image();
    image.src = uri;
    await image.decode();
    const canvas = el("canvas", {width, height}), context = canvas.getContext("2d", {willReadFrequently: true});
    context.drawImage(image, 0, 0);
    return context.getImageData(0, 0, width, height).data;
  }
  function confidencePicture() {
    const {width, height} = sample, canvas = el("canvas", {width, height}), context = canvas.getContext("2d");
    const picture = context.createImageData(width, height);
    for (let i = 0; i < certainty.length; i += 4) {
      for (let channel = 0; channel < 3; channel++) picture.data[i + channel] = COLORS[3 * certainty[i] + channel];
      picture.data[i + 3] = 255;
    }
    context.putImageData(picture, 0, 0);
    return canvas.toDataURL();
  }
  const views = () => [["photo", "photo"], ...(sample.generated ? [["generated", "generated image"]] : []), ["label", "label"],
    ["over", "label over photo"], ["confidence", "confidence"], ...Object.keys(sample.others || {}).map((name) => ["other " + name, name])];

  async function show(next) {
    const mine = ++turn;
    const [sure, numbers] = await Promise.all([pixels(next.certainty, next.width, next.height), pixels(next.values, next.width, next.height)]);
    if (mine !== turn) return false;
    [sample, certainty, values, under] = [next, sure, numbers, null];
    sample.confidence ??= confidencePicture();
    Object.assign(state, {zoom: 1, x: 0, y: 0, path: null});
    stage.style.aspectRatio = `${sample.width} / ${sample.height}`;
    stage.style.maxWidth = `calc(60vh * ${sample.width / sample.height})`;
    for (const [side, select, usual] of [["left", left, "photo"], ["right", right, "over"]]) {
      select.replaceChildren(...views().map(([value, textContent]) => el("option", {value, textContent})));
      select.value = views().some(([name]) => name === state[side]) ? state[side] : usual;
    }
    read.textContent = "Point at the picture to read its values.";
    paint();
    return true;
  }
  function layer(name) {
    const title = Object.fromEntries(views())[name], other = name.startsWith("other ") ? sample.others[name.slice(6)] : "";
    const image = (uri, className = "", alt = "") => el("img", {src: uri, className, alt, draggable: false});
    const alt = `${title} of ${sample.name || "the sample"}`;
    return el("div", {className: "layer"}, ...(name === "over" ? [image(sample.photo, "", alt), image(sample.label, "mixed")] : [image(other || sample[name], "", alt)]));
  }
  function paint() {
    const over = layer(right.value);
    over.classList.add("over");
    sheet.replaceChildren(layer(left.value), over, svgOf("svg", {viewBox: "0 0 1 1", preserveAspectRatio: "none", "aria-hidden": "true"}));
    drawRegions();
    place();
  }
  function drawRegions() {
    const svg = sheet.querySelector("svg");
    if (!svg) return;
    const shapes = state.regions.map((region) => ["polygon", region]);
    if (state.path) shapes.push(["polyline", state.path]);
    svg.replaceChildren(...shapes.map(([tag, points]) => svgOf(tag, {points: points.map((point) => point.join(",")).join(" ")})));
  }
  function place() {
    const {clientWidth: width, clientHeight: height} = stage, over = sheet.querySelector(".over");
    state.x = Math.min(0, Math.max(state.x, width * (1 - state.zoom)));
    state.y = Math.min(0, Math.max(state.y, height * (1 - state.zoom)));
    sheet.style.transform = `translate(${state.x}px,${state.y}px) scale(${state.zoom})`;
    sheet.classList.toggle("near", state.zoom >= 3);
    const at = width * state.split / 100;
    divider.style.left = at + "px";
    if (over) over.style.clipPath = `inset(0 0 0 ${Math.max(0, (at - state.x) / state.zoom)}px)`;
    split.value = state.split;
    size.textContent = Math.round(100 * state.zoom) + " %";
    stage.dataset.zoom = state.zoom.toFixed(2);
  }
  function zoom(factor, x = stage.clientWidth / 2, y = stage.clientHeight / 2) {
    const before = state.zoom;
    state.zoom = Math.min(MAX_ZOOM, Math.max(1, before * factor));
    state.x = x - (x - state.x) * state.zoom / before;
    state.y = y - (y - state.y) * state.zoom / before;
    place();
  }
  function fit() { state.zoom = 1; place(); }
  function slide(step) { state.split = Math.min(100, Math.max(0, state.split + step)); place(); }
  function pan(right, down) {
    state.x -= right * PAN * stage.clientWidth;
    state.y -= down * PAN * stage.clientHeight;
    place();
    readAt(((stage.clientWidth / 2) - state.x) / (stage.clientWidth * state.zoom), ((stage.clientHeight / 2) - state.y) / (stage.clientHeight * state.zoom), "center: ");
  }

  // ---- values
  function valueAt(column, row) {
    const i = 4 * (row * sample.width + column), [r, g, b] = [values[i], values[i + 1], values[i + 2]], word = r << 8 | g, names = sample.names;
    const kinds = {
      depth() {
        if (!word) return null;
        if (!sample.metric) return `${((word - 1) / 65534).toFixed(3)} (relative)`;
        return word / 65535 > FAR_WARP ? "sky" : `${(10 * ((1 - word / 65535) ** -0.5 - 1)).toFixed(2)} m`;
      },
      normals() {
        if (!r && !g && !b) return null;
        const n = [1 - 2 * r / 255, 2 * g / 255 - 1, 2 * b / 255 - 1], length = Math.hypot(...n) || 1;
        const [x, y, z] = n.map((one) => one / length), angle = (Math.acos(Math.min(1, Math.max(-1, z))) * 180 / Math.PI).toFixed(0);
        return `x ${x.toFixed(2)} right, y ${y.toFixed(2)} up, z ${z.toFixed(2)} to the camera; ${angle} degrees from the view axis`;
      },
      classes: () => g === 255 ? null : names[g] ?? `class ${g}`,
      instances: () => word === 65535 ? null : word === 0 ? "background" : `${names[word] ?? "instance"} (id ${word})`,
      edges: () => g === 255 ? null : `edge probability ${(g / 254).toFixed(2)}`,
    };
    const text = kinds[sample.drawing]();
    return {
      text: text === null ? "no label here" : `${text}; confidence ${(certainty[i] / 255).toFixed(2)}`,
      name: sample.drawing === "classes" ? names[g] : sample.drawing === "instances" ? names[word] : undefined,
    };
  }
  function readAt(x, y, before = "") {
    if (!values) return;
    under = valueAt(Math.min(sample.width - 1, Math.floor(x * sample.width)), Math.min(sample.height - 1, Math.floor(y * sample.height)));
    read.textContent = before + under.text;
  }
  const inPhoto = (event) => {
    const box = sheet.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map((one) => Math.min(1, Math.max(0, one)));
  };

  // ---- pointer and keys
  const pointers = new Map();
  let gap = 0;
  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, event);
    if (state.drawing) state.path = [inPhoto(event)];
  });
  stage.addEventListener("pointermove", (event) => {
    readAt(...inPhoto(event));
    const before = pointers.get(event.pointerId);
    if (!before) return;
    pointers.set(event.pointerId, event);
    const box = stage.getBoundingClientRect();
    if (pointers.size === 2) {
      const [a, b] = [...pointers.values()], now = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
      if (gap) zoom(now / gap, (a.clientX + b.clientX) / 2 - box.left, (a.clientY + b.clientY) / 2 - box.top);
      gap = now;
    } else if (state.path) {
      state.path.push(inPhoto(event));
      drawRegions();
    } else if (state.zoom > 1) {
      state.x += event.clientX - before.clientX;
      state.y += event.clientY - before.clientY;
      place();
    } else {
      state.split = Math.min(100, Math.max(0, 100 * (event.clientX - box.left) / box.width));
      place();
    }
  });
  const regionOf = (path) => {
    const spread = [0, 1].map((axis) => Math.max(...path.map((p) => p[axis])) - Math.min(...path.map((p) => p[axis])));
    const step = Math.ceil(path.length / 200), region = path.filter((_, i) => i % step === 0).map((p) => p.map((one) => Math.round(one * 1e4) / 1e4));
    return region.length > 2 && Math.min(...spread) > 0.005 ? region : null;
  };
  for (const kind of ["pointerup", "pointercancel"]) stage.addEventListener(kind, (event) => {
    pointers.delete(event.pointerId);
    gap = 0;
    const region = state.path && kind === "pointerup" ? regionOf(state.path) : null;
    state.path = null;
    drawRegions();
    if (region) state.drawing(region);
  });
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    const box = stage.getBoundingClientRect();
    zoom(event.deltaY < 0 ? 1.25 : 0.8, event.clientX - box.left, event.clientY - box.top);
  }, {passive: false});
  split.addEventListener("input", () => { state.split = Number(split.value); place(); });
  for (const [side, select] of [["left", left], ["right", right]]) select.addEventListener("change", () => { state[side] = select.value; paint(); });
  const keys = {"+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: fit, "[": () => slide(-10), "]": () => slide(10)};
  const arrows = {ArrowLeft: () => pan(-1, 0), ArrowRight: () => pan(1, 0), ArrowUp: () => pan(0, -1), ArrowDown: () => pan(0, 1)};
  function press(event) {
    const action = sample && !event.ctrlKey && !event.metaKey && !event.altKey && (keys[event.key] || (event.target === stage && arrows[event.key]));
    if (action) { event.preventDefault(); event.stopPropagation(); action(); }
    return Boolean(action);
  }
  stage.addEventListener("keydown", press);
  new ResizeObserver(place).observe(stage);
  return {
    stage, read, tools, show, press,
    sample: () => sample,
    under: () => under,
    regions(list) { state.regions = list; drawRegions(); },
    draw(onRegion) { state.drawing = onRegion; state.path = null; drawRegions(); },
  };
};
for (const gallery of document.querySelectorAll(".viewer-gallery")) {
  const facts = JSON.parse(gallery.querySelector("script").textContent), buttons = [...gallery.querySelectorAll("button")];
  const samples = buttons.map((button, number) => {
    const found = Object.fromEntries([...button.querySelectorAll("img")].map((image) => [image.dataset.view, image.src]));
    const others = Object.fromEntries(Object.entries(found).filter(([name]) => name.startsWith("other ")).map(([name, uri]) => [name.slice(6), uri]));
    return {...facts[number], ...found, others};
  });
  const root = document.createElement("div"), viewer = distillViewer(root);
  gallery.prepend(root);
  const open = (number) => {
    viewer.show(samples[number]);
    buttons.forEach((button, other) => button.setAttribute("aria-current", other === number));
  };
  buttons.forEach((button, number) => button.addEventListener("click", () => { open(number); viewer.stage.scrollIntoView({block: "nearest"}); }));
  open(0);
}
