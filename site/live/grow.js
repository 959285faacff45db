// Grow a digit from noise, with every state under a slider.
import { paint, make } from "./sketch.js";
import { toDisplay } from "./mnist.js";
import { button, choices, labelled, number, picture, read, row, seconds, stateSlider, statusLine } from "./controls.js";

export function mountGrow(box, engine, data) {
  const [, height, width] = data.model.inputs.x, highest = data.model.betas.length;
  const label = choices([...data.names.map((name, i) => [name, i]), ["any digit", -1]], 3);
  const steps = number(20, 1, highest), scale = number(data.scale, 0, 10, 0.1), eta = number(1, 0, 1, 0.1);
  const seed = number(0, 0, 2 ** 31 - 1), count = make("p", { className: "live-count" }), status = statusLine();
  const [now, nowFigure] = picture(width, height, "the state x_t", 5);
  const [clean, cleanFigure] = picture(width, height, "the clean digit that the network sees in it, x̂_0", 5);
  let states = [];
  const slider = stateSlider("state", i => {
    if (!states.length) return "nothing yet";
    const { x, x_start, words } = states[i];
    paint(now, toDisplay(x));
    paint(clean, toDisplay(x_start));
    return words;
  });

  const hear = total => ({ state: { t, before, x, x_start }, looks, seconds: time }) => {
    const made = states.length + 1, follows = +slider.input.value >= states.length - 1;
    states.push({ x: before, x_start, words: `before step ${made} of ${total}: t = ${t}` });
    if (made === total) states.push({ x, x_start: x, words: "the sample" });
    slider.upTo(states.length - 1, follows ? states.length - 1 : +slider.input.value);
    count.textContent = `${looks} looks at the network, ${seconds(time)}`;
  };
  async function run() {
    const asked = {};
    for (const [name, input] of Object.entries({ steps, guidance: scale, η: eta, seed })) {
      asked[name] = read(input, name, status);
      if (asked[name] === null) return;
    }
    const wanted = +label.value < 0 ? null : +label.value;
    states = [];
    status.textContent = "";
    try {
      const job = { do: "grow", label: wanted, steps: asked.steps, scale: asked.guidance, eta: asked.η, seed: asked.seed };
      const done = await engine.run(job, hear(asked.steps));
      status.textContent = done.stopped ? `Stopped after ${states.length} of ${asked.steps} steps.`
        : `Grown: ${asked.steps} steps, ${done.looks} looks at the network, ${seconds(done.seconds)} on your machine.`;
    } catch (error) {
      status.textContent = error.message;
    }
  }
  const next = () => { seed.value = (+seed.value + 1) % 2 ** 31; run(); };
  box.append(
    row(labelled("digit", label), labelled("steps", steps), labelled("guidance", scale), labelled("η", eta), labelled("seed", seed)),
    row(button("Grow it", run), button("Next seed", next), button("Stop", () => engine.stop())),
    row(nowFigure, cleanFigure), row(slider.box), count, status);
  slider.upTo(0);
}
