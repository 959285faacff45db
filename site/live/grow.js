// Grow a digit from noise, with every state under a slider.
import { paint, make } from "./sketch.js";
import { toDisplay } from "./mnist.js";
import { button, choices, labelled, number, picture, read, row, seconds, stateSlider, statusLine } from "./controls.js";

const some = (count, one) => `${count} ${one}${count === 1 ? "" : "s"}`;
const stepsOf = count => some(count, "step"), looksOf = count => `${some(count, "look")} at the network`;

export function mountGrow(box, engine, data) {
  const [, height, width] = data.model.inputs.x;
  const network = choices(data.networks.map(({ title }, i) => [title, i]), 0), about = make("p", { className: "live-about" });
  const label = choices([...data.names.map((name, i) => [name, i]), ["any digit", -1]], 3);
  const steps = number(1, 1, 1), scale = number(1, 0, 10, 0.1), eta = number(1, 0, 1, 0.1);
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
    count.textContent = `${looksOf(looks)}, ${seconds(time)}`;
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
      const { key, walk, levels } = data.networks[+network.value];
      const job = { do: "grow", network: key, walk, levels, label: wanted, steps: asked.steps, scale: asked.guidance, eta: asked.η,
        seed: asked.seed };
      const done = await engine.run(job, hear(asked.steps));
      status.textContent = done.stopped ? `Stopped after ${states.length} of ${stepsOf(asked.steps)}.`
        : `Grown: ${stepsOf(asked.steps)}, ${looksOf(done.looks)}, ${seconds(done.seconds)} on your machine.`;
    } catch (error) {
      status.textContent = error.message;
    }
  }
  // Each network has its own steps, and takes only some of the settings.
  function choose() {
    const { text, steps: [first, most], settings, any, scale: usual } = data.networks[+network.value];
    about.textContent = text;
    Object.assign(steps, { max: most, value: first });
    Object.assign(scale, { value: usual, disabled: !settings.includes("guidance") });
    eta.disabled = !settings.includes("η");
    label.lastChild.disabled = !any;
    if (!any && +label.value < 0) label.value = 3;
  }
  network.addEventListener("change", () => { engine.stop(); choose(); });
  const next = () => { seed.value = (+seed.value + 1) % 2 ** 31; run(); };
  choose();
  box.append(
    row(labelled("network", network)), about,
    row(labelled("digit", label), labelled("steps", steps), labelled("guidance", scale), labelled("η", eta), labelled("seed", seed)),
    row(button("Grow it", run), button("Next seed", next), button("Stop", () => engine.stop())),
    row(nowFigure, cleanFigure), row(slider.box), count, status);
  slider.upTo(0);
}
