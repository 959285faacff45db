// A wrong sampler beside the right one, from the same noise: predict, then run.
import { make, paint } from "./sketch.js";
import { toDisplay } from "./mnist.js";
import { button, choices, labelled, number, picture, read, row, seconds, statusLine } from "./controls.js";

const percent = value => `${Math.round(100 * value)} %`;
const scores = found => found.error ? found.error : `agreement ${percent(found.agreement)}, spread ${found.spread.toFixed(2)} of real digits'`;

export function mountCompare(box, engine, data) {
  const [, height, width] = data.model.inputs.x, titles = [...new Set(data.mistakes.map(mistake => mistake.symptom))];
  const mistake = choices(data.mistakes.map(({ exercise, name }, i) => [`${exercise}: ${name}`, i]), 0);
  const label = choices(data.names.map((name, i) => [name, i]), 3), count = number(2, 1, 4), seed = number(0, 0, 2 ** 31 - 1);
  const guesses = make("fieldset", {}, make("legend", { textContent: "What will you see? Predict first." }),
    ...titles.map(title => make("label", {}, make("input", { type: "radio", name: "live-guess", value: title }), ` ${title}`)));
  const shelf = make("div", {}), progress = make("p", { className: "live-count" }), status = statusLine();
  const verdict = make("p", {});

  function shelves(total) {
    const canvases = ["right", "wrong"].map(kind => Array.from({ length: total }, (_, i) =>
      picture(width, height, `${kind}, from noise ${+seed.value + i}`, 3)));
    shelf.replaceChildren(...canvases.map(line => row(...line.map(([, figure]) => figure))));
    return canvases.map(line => line.map(([canvas]) => canvas));
  }
  function tell(chosen, guess) {
    const found = chosen.measured, right = data.tables[chosen.exercise].measured;
    verdict.replaceChildren(
      guess === chosen.symptom ? "Your prediction is what the symptom page says: " : `You predicted: ${guess}. The symptom page says: `,
      make("a", { href: "debugging.html", textContent: chosen.symptom }),
      `. Forty digits of this sampler: ${scores(found)}; of the right one: ${scores(right)}.`);
  }
  async function run() {
    const guess = guesses.querySelector("input:checked"), total = read(count, "digits", status), first = read(seed, "seed", status);
    if (total === null || first === null) return;
    if (!guess) { status.textContent = "Choose a prediction first."; guesses.querySelector("input").focus(); return; }
    const chosen = data.mistakes[+mistake.value], { levels, correct, wrong } = data.tables[chosen.exercise];
    const canvases = shelves(total);
    status.textContent = "";
    verdict.textContent = "";
    try {
      const job = { do: "compare", label: +label.value, count: total, seed: first, levels, tables: [correct, wrong[chosen.id]] };
      const done = await engine.run(job, ({ state, looks, seconds: time }) => {
        state.x.forEach((x, side) => paint(canvases[side][state.digit], toDisplay(x)));
        progress.textContent = `digit ${state.digit + 1} of ${total}, t = ${state.t}; ${looks} looks at the network, ${seconds(time)}`;
      });
      status.textContent = done.stopped ? "Stopped." : `Done: ${done.looks} looks at the network, ${seconds(done.seconds)}.`;
      if (!done.stopped) tell(chosen, guess.value);
    } catch (error) {
      status.textContent = error.message;
    }
  }
  function follow() { // a link of the symptom page: #try-p_sample_05
    const found = data.mistakes.findIndex(({ key }) => location.hash === `#try-${key}`);
    if (found < 0) return;
    mistake.value = found;
    box.scrollIntoView();
    mistake.focus();
  }
  mistake.addEventListener("change", () => {
    verdict.textContent = status.textContent = "";
    for (const input of guesses.querySelectorAll("input")) input.checked = false;
  });
  window.addEventListener("hashchange", follow);
  box.append(row(labelled("wrong sampler", mistake)), guesses,
    row(labelled("digit", label), labelled("how many", count), labelled("seed", seed)),
    row(button("Run both", run), button("Stop", () => engine.stop())), shelf, progress, status, verdict);
  follow();
}
