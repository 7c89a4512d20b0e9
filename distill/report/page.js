"use strict";
// Sort tables by a click, or Enter, on a column's name.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent || "name";
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const isNumber = head.classList.contains("n");
      const value = (row) => isNumber ? parseFloat(row.cells[column].dataset.v ?? "NaN") : row.cells[column].textContent;
      const order = (a, b) => {
        const [x, y] = [value(a), value(b)];
        if (!isNumber) return (up ? 1 : -1) * x.localeCompare(y, undefined, { numeric: true });
        if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y); // unknown values stay at the end
        return (up ? 1 : -1) * (x - y);
      };
      body.append(...[...body.rows].sort(order));
    });
  });
}
// Enlarge a picture by a click or Enter; arrows show its neighbors, Escape closes.
const pictures = [...document.querySelectorAll(".gallery img")];
if (pictures.length && window.HTMLDialogElement) {
  const dialog = document.createElement("dialog");
  dialog.setAttribute("aria-label", "enlarged picture");
  const image = document.createElement("img"), caption = document.createElement("figcaption");
  const figure = document.createElement("figure");
  figure.append(image, caption);
  dialog.append(figure);
  document.body.append(dialog);
  let current = 0;
  const show = (index) => {
    current = Math.min(Math.max(index, 0), pictures.length - 1);
    image.src = pictures[current].src;
    image.alt = pictures[current].alt;
    caption.textContent = pictures[current].alt + " (arrow keys: neighbors, Escape: close)";
  };
  pictures.forEach((picture, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "zoom";
    button.setAttribute("aria-label", "enlarge: " + (picture.alt || "picture"));
    picture.replaceWith(button);
    button.append(picture);
    button.addEventListener("click", () => { show(index); dialog.showModal(); });
  });
  dialog.addEventListener("click", () => dialog.close());
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) { show(current + step); event.preventDefault(); }
  });
}
