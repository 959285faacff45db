// A pad to draw a digit on, and three small pictures that the kernel paints. Every control is a native one, so
// all of it works by keyboard.
const INK = 140; // pixels of the pad

export function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

export function paint(canvas, bytes) { // one byte a pixel, or three
  const pen = canvas.getContext("2d"), image = pen.createImageData(canvas.width, canvas.height);
  const count = canvas.width * canvas.height, each = bytes.length / count;
  for (let i = 0; i < count; i++)
    image.data.set([bytes[each * i], bytes[each * i + (each > 1)], bytes[each * i + 2 * (each > 1)], 255], 4 * i);
  pen.putImageData(image, 0, 0);
}

function drawingPad(changed) {
  const pad = make("canvas", { width: INK, height: INK, className: "sketch-pad" });
  pad.setAttribute("role", "img");
  pad.setAttribute("aria-label", "Drawing pad for a mouse or a finger. By keyboard, take a test digit instead.");
  const pen = pad.getContext("2d", { willReadFrequently: true });
  Object.assign(pen, { lineWidth: 12, lineCap: "round", lineJoin: "round", fillStyle: "white" });
  const wipe = () => pen.fillRect(0, 0, INK, INK);
  const place = event => {
    const box = pad.getBoundingClientRect();
    return [((event.clientX - box.left) * INK) / box.width, ((event.clientY - box.top) * INK) / box.height];
  };
  let last = null;
  pad.addEventListener("pointerdown", event => {
    pad.setPointerCapture(event.pointerId);
    last = place(event);
    stroke(last);
  });
  pad.addEventListener("pointermove", event => { if (last) stroke(place(event)); });
  for (const end of ["pointerup", "pointercancel"])
    pad.addEventListener(end, () => { if (last) { last = null; changed(read()); } });
  function stroke(to) {
    pen.beginPath();
    pen.moveTo(...last);
    pen.lineTo(...to);
    pen.stroke();
    last = to;
  }
  function read() {
    const rgba = pen.getImageData(0, 0, INK, INK).data;
    return Uint8Array.from({ length: INK * INK }, (_, i) => rgba[4 * i]);
  }
  function show(small) {
    pen.imageSmoothingEnabled = false;
    pen.drawImage(small, 0, 0, INK, INK);
  }
  wipe();
  return { pad, wipe, show };
}

export function renderPad({ model, el }) {
  const [height, width] = model.get("size"), names = model.get("names"), noun = model.get("noun");
  const choices = (name, list, value) => {
    const select = make("select", {}, ...list.map(([text, v]) =>
      make("option", { textContent: text, value: v, selected: v === value })));
    select.setAttribute("aria-label", name);
    return select;
  };
  const tell = (name, value) => { model.set(name, value); model.save_changes(); };
  const { pad, wipe, show } = drawingPad(ink => model.send({ do: "draw" }, undefined, [ink.buffer]));

  const label = choices("bring it back", [...names.map((name, i) => [`as ${/^[aeiou8]/i.test(name) ? "an" : "a"} ${name}`, i]), [`as any ${noun}`, -1]], model.get("label"));
  label.addEventListener("change", () => tell("label", +label.value));
  const level = make("input", { type: "range", min: 0, max: model.get("highest"), value: model.get("level") });
  const readout = make("output", {});
  level.addEventListener("input", () => { said(); tell("level", +level.value); });
  const said = () => {
    readout.textContent = `t = ${level.value}`;
    level.setAttribute("aria-valuetext", readout.textContent);
  };
  const example = choices("example", names.map((name, i) => [`a test ${noun}: ${name}`, i]), model.get("label"));
  const button = (text, action) => {
    const made = make("button", { textContent: text, type: "button" });
    made.addEventListener("click", action);
    return made;
  };
  const take = button("Take it", () => model.send({ do: "take", digit: +example.value }));
  const clear = button("Clear", () => { wipe(); model.send({ do: "clear" }); });
  // A message overtakes settings that are still on their way, so it takes them along.
  const run = button("Noise it and bring it back", () =>
    model.send({ do: "run", level: +level.value, label: +label.value }));
  const status = make("p", { className: "sketch-status" });
  status.setAttribute("role", "status");

  const titles = ["as the model sees it", "x_t", `its idea of the clean ${noun}`];
  const panes = titles.map(title => {
    const canvas = make("canvas", { width, height });
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", title);
    return canvas;
  });
  const figure = (canvas, title) => make("figure", {}, canvas, make("figcaption", { textContent: title }));
  const box = make("div", { className: "sketch" },
    make("div", { className: "sketch-row" }, figure(pad, "draw here"), ...panes.map((c, i) => figure(c, titles[i]))),
    make("div", { className: "sketch-row" }, example, take, clear),
    make("div", { className: "sketch-row" }, make("label", {}, "noise to ", level, " ", readout), label, run), status);
  box.addEventListener("keydown", event => event.stopPropagation()); // JupyterLab would take the arrow keys
  el.append(box);

  const refresh = () => {
    const view = model.get("panes"), bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
    const each = bytes.length / panes.length;
    panes.forEach((canvas, i) => paint(canvas, bytes.subarray(i * each, (i + 1) * each)));
  };
  const hear = () => { status.textContent = model.get("status"); };
  model.on("change:panes", refresh);
  model.on("change:status", hear);
  model.on("change:level", () => { level.value = model.get("level"); said(); });
  model.on("change:label", () => { label.value = model.get("label"); });
  model.on("msg:custom", message => { if (message.do === "show") { refresh(); show(panes[0]); } });
  refresh(); hear(); said();
}

export default { render: renderPad };
