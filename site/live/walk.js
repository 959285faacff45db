// A walk from noise whose every state lies under a slider: growing digits and drawing pages share it.
import { make } from "./sketch.js";
import { read, seconds, stateSlider, statusLine } from "./controls.js";

const some = (count, one) => `${count} ${one}${count === 1 ? "" : "s"}`;
const stepsOf = count => some(count, "step"), looksOf = count => `${some(count, "look")} at the network`;

// show(state) paints one: {x, x_start, pictures}, the last two with their clean image as the network sees it. verb is
// what has been done at the end: "Grown".
export function mountWalk(engine, verb, show) {
  const count = make("p", { className: "live-count" }), status = statusLine();
  let states = [];
  const slider = stateSlider("state", i => {
    if (!states.length) return "nothing yet";
    show(states[i]);
    return states[i].words;
  });

  const hear = total => ({ state: { t, before, x, x_start, pictures = [] }, looks, seconds: time }) => {
    const made = states.length + 1, follows = +slider.input.value >= states.length - 1;
    states.push({ x: before, x_start, pictures, words: `before step ${made} of ${total}: t = ${t}` });
    if (made === total) states.push({ x, x_start: x, pictures: [pictures[1], pictures[1]], words: "the sample" });
    slider.upTo(states.length - 1, follows ? states.length - 1 : +slider.input.value);
    count.textContent = `${looksOf(looks)}, ${seconds(time)}`;
  };
  // fields: name -> its input. job(values) is what the thread is asked to do, or null where the reader has been told why not.
  async function run(fields, job) {
    const values = {};
    for (const [name, input] of Object.entries(fields)) {
      values[name] = read(input, name, status);
      if (values[name] === null) return;
    }
    const asked = job(values), { steps } = values;
    if (!asked) return;
    states = [];
    status.textContent = "";
    try {
      const done = await engine.run({ ...asked, steps, scale: values.guidance, eta: values.η, seed: values.seed }, hear(steps));
      status.textContent = done.stopped ? `Stopped after ${states.length} of ${stepsOf(steps)}.`
        : `${verb}: ${stepsOf(steps)}, ${looksOf(done.looks)}, ${seconds(done.seconds)} on your machine.`;
    } catch (error) {
      status.textContent = error.message;
    }
  }
  return { slider, count, status, run };
}
