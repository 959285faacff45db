// Train a small network on points that the reader draws, and see the field that it has learned beside the exact one.
import { make } from "./sketch.js";
import { GRID, REACH } from "./points.js";
import { button, choices, labelled, row, seconds, stateSlider, statusLine } from "./controls.js";

const PAD = 260, MOST_POINTS = 200;
const LEARNED = "#0072B2", EXACT = "#D55E00", NEUTRAL = "#555";
const toPixel = v => ((v / REACH + 1) / 2) * PAD, toPlane = p => ((2 * p) / PAD - 1) * REACH;

const around = (count, place) => Array.from({ length: count }, (_, i) => place((2 * Math.PI * i) / count, i));
const SHAPES = {
  "a ring": () => around(40, angle => [Math.cos(angle), Math.sin(angle)]),
  "two clumps": () => around(40, (angle, i) => [(i % 2 ? 0.9 : -0.9) + 0.15 * Math.cos(3 * angle), 0.15 * Math.sin(5 * angle)]),
  "a spiral": () => around(60, angle => [(angle / 5) * Math.cos(2 * angle), (angle / 5) * Math.sin(2 * angle)]),
};

function plot(title) {
  const canvas = make("canvas", { width: PAD, height: PAD });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", title);
  const pen = canvas.getContext("2d");
  const wipe = () => { pen.fillStyle = "white"; pen.fillRect(0, 0, PAD, PAD); };
  const dots = (points, colour, size) => {
    pen.fillStyle = colour;
    for (const [x, y] of points) { pen.beginPath(); pen.arc(toPixel(x), toPixel(y), size, 0, 7); pen.fill(); }
  };
  // Each arrow points from x_t against the noise that is guessed in it; the longest are shortened: s / (1 + s).
  const arrows = (eps, colour) => {
    pen.strokeStyle = pen.fillStyle = colour;
    const most = (PAD / (GRID - 1)) * 0.8;
    for (let k = 0; k < GRID * GRID; k++) {
      const x = ((k % GRID) / (GRID - 1)) * PAD, y = (Math.floor(k / GRID) / (GRID - 1)) * PAD;
      const size = Math.hypot(eps[2 * k], eps[2 * k + 1]), length = size && (most * size) / (1 + size) / size;
      const [dx, dy] = [-eps[2 * k] * length, -eps[2 * k + 1] * length];
      pen.beginPath();
      pen.moveTo(x, y);
      pen.lineTo(x + dx, y + dy);
      pen.stroke();
      pen.beginPath();
      pen.arc(x + dx, y + dy, 2, 0, 7);
      pen.fill();
    }
  };
  wipe();
  return { canvas, figure: make("figure", {}, canvas, make("figcaption", { textContent: title })), wipe, dots, arrows };
}

// The pad: a press puts a point; by keyboard, arrows move the cross and the space bar puts a point.
function pointPad(changed) {
  const view = plot("your points"), { canvas } = view;
  let points = [], cross = [0, 0];
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", "Pad for points. Press to put one; or move the cross with the arrow keys and press the space bar.");
  const draw = () => {
    view.wipe();
    view.dots(points, NEUTRAL, 3);
    if (document.activeElement === canvas) view.dots([cross], EXACT, 4);
  };
  const put = place => {
    if (points.length < MOST_POINTS) points.push(place);
    draw();
    changed(points.length);
  };
  let down = false;
  const place = event => {
    const box = canvas.getBoundingClientRect();
    return [toPlane(((event.clientX - box.left) * PAD) / box.width), toPlane(((event.clientY - box.top) * PAD) / box.height)];
  };
  canvas.addEventListener("pointerdown", event => { down = true; canvas.setPointerCapture(event.pointerId); put(place(event)); });
  canvas.addEventListener("pointermove", event => { if (down) put(place(event)); });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { down = false; });
  for (const event of ["focus", "blur"]) canvas.addEventListener(event, draw);
  const moves = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };
  canvas.addEventListener("keydown", event => {
    const move = moves[event.key];
    if (event.key === " ") put([...cross]);
    if (move) cross = cross.map((v, i) => Math.max(-REACH, Math.min(REACH, v + move[i])));
    if (move || event.key === " ") { event.preventDefault(); draw(); }
  });
  const set = these => { points = these; draw(); changed(points.length); };
  return { ...view, set, get: () => points };
}

// Loss and floor against steps: two lines with their names beside them.
function lossPlot() {
  const view = plot("loss (blue) and its floor (orange)"), pen = view.canvas.getContext("2d");
  return { ...view, draw(history) {
    view.wipe();
    const most = Math.max(...history.map(entry => entry.loss)), last = history.at(-1).step;
    for (const [key, colour] of [["loss", LEARNED], ["floor", EXACT]]) {
      pen.strokeStyle = colour;
      pen.beginPath();
      for (const entry of history) pen.lineTo((entry.step / last) * PAD, PAD - (entry[key] / most) * (PAD - 12));
      pen.stroke();
    }
  } };
}

export function mountTrain(box, engine, data) {
  const status = statusLine(), count = make("p", { className: "live-count" });
  const pad = pointPad(total => { count.textContent = `${total} points`; });
  const shape = choices(Object.keys(SHAPES).map(name => [name, name]), "a ring"), curve = lossPlot();
  const field = { learned: plot("learned: arrows and sampled points"), exact: plot("exact: arrows and your points") };
  let states = [];
  const slider = stateSlider("level", i => {
    if (!states.length) return "not trained yet";
    const { t, x, learned, exact } = states[i];
    const pairs = Array.from({ length: x.length / 2 }, (_, n) => [x[2 * n], x[2 * n + 1]]);
    for (const view of Object.values(field)) view.wipe();
    field.learned.arrows(learned, LEARNED);
    field.learned.dots(pairs, NEUTRAL, 2);
    field.exact.arrows(exact, EXACT);
    field.exact.dots(pad.get(), NEUTRAL, 2);
    return t < 0 ? "the sample" : `t = ${t}`;
  });

  async function run() {
    if (pad.get().length < 2) { status.textContent = "Put at least two points, or take a shape."; return; }
    const history = [];
    let found = null;
    status.textContent = "Training ...";
    try {
      const job = { do: "train", points: pad.get(), seed: 0, ...data.training };
      const done = await engine.run(job, ({ state, seconds: time }) => {
        if (state.field) { found = state; return; }
        history.push(state);
        curve.draw(history);
        count.textContent = `step ${state.step}: loss ${state.loss.toFixed(3)}, floor ${state.floor.toFixed(3)}, ${seconds(time)}`;
      });
      if (done.stopped) { status.textContent = "Stopped."; return; }
      states = found.field;
      slider.upTo(states.length - 1);
      const late = history.slice(-20), mean = key => late.reduce((sum, entry) => sum + entry[key], 0) / late.length;
      status.textContent = `Trained: ${found.step} steps, ${seconds(done.seconds)}. Loss ${mean("loss").toFixed(3)}, floor ${mean("floor").toFixed(3)}.`;
    } catch (error) {
      status.textContent = error.message;
    }
  }
  box.append(
    row(labelled("shape", shape), button("Take it", () => pad.set(SHAPES[shape.value]())), button("Clear", () => pad.set([]))),
    row(button("Train on these points", run), button("Stop", () => engine.stop())),
    row(pad.figure, curve.figure), count, status, row(field.learned.figure, field.exact.figure), row(slider.box));
  slider.upTo(0);
  pad.set(SHAPES["a ring"]());
}
