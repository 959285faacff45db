// Grow a digit from noise, with every state under a slider.
import { make, paint } from "./sketch.js";
import { toDisplay } from "./mnist.js";
import { button, choices, labelled, number, picture, row } from "./controls.js";
import { mountWalk } from "./walk.js";

export function mountGrow(box, engine, data) {
  const [, height, width] = data.model.inputs.x;
  const network = choices(data.networks.map(({ title }, i) => [title, i]), 0), about = make("p", { className: "live-about" });
  const label = choices([...data.names.map((name, i) => [name, i]), ["any digit", -1]], 3);
  const fields = { steps: number(1, 1, 1), guidance: number(1, 0, 10, 0.1), η: number(1, 0, 1, 0.1), seed: number(0, 0, 2 ** 31 - 1) };
  const [now, nowFigure] = picture(width, height, "the state x_t", 5);
  const [clean, cleanFigure] = picture(width, height, "the clean digit that the network sees in it, x̂_0", 5);
  const walk = mountWalk(engine, "Grown", ({ x, x_start }) => {
    paint(now, toDisplay(x));
    paint(clean, toDisplay(x_start));
  });
  const run = () => walk.run(fields, () => {
    const { key, walk: how, levels } = data.networks[+network.value];
    return { do: "grow", network: key, walk: how, levels, label: +label.value < 0 ? null : +label.value };
  });
  // Each network has its own steps, and takes only some of the settings.
  function choose() {
    const { text, steps: [first, most], settings, any, scale: usual } = data.networks[+network.value];
    about.textContent = text;
    Object.assign(fields.steps, { max: most, value: first });
    Object.assign(fields.guidance, { value: usual, disabled: !settings.includes("guidance") });
    fields.η.disabled = !settings.includes("η");
    label.lastChild.disabled = !any;
    if (!any && +label.value < 0) label.value = 3;
  }
  network.addEventListener("change", () => { engine.stop(); choose(); });
  const next = () => { fields.seed.value = (+fields.seed.value + 1) % 2 ** 31; run(); };
  choose();
  box.append(
    row(labelled("network", network)), about,
    row(labelled("digit", label), ...Object.entries(fields).map(([name, input]) => labelled(name, input))),
    row(button("Grow it", run), button("Next seed", next), button("Stop", () => engine.stop())),
    row(nowFigure, cleanFigure), row(walk.slider.box), walk.count, walk.status);
  walk.slider.upTo(0);
}
