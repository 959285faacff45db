// A wrong sampler beside the right one, from the same noise: predict, then run.
import { make, paint } from "./sketch.js";
import { toDisplay } from "./mnist.js";
import { button, choices, labelled, number, picture, read, row, seconds, statusLine } from "./controls.js";

const percent = value => `${Math.round(100 * value)} %`;
const same = ({ most }) => most > 0.5 ? `, ${percent(most)} read as one and the same digit` : "";
const scores = found => found.error ?? `agreement ${percent(found.agreement)}, spread ${found.spread.toFixed(2)} of real digits'${same(found)}`;
const MORE = 4; // digits, where what is to be seen is how much they differ

export function mountCompare(box, engine, data) {
  const [, height, width] = data.model.inputs.x, titles = [...new Set(data.mistakes.map(mistake => mistake.symptom))];
  const mistake = choices(data.mistakes.map(({ exercise, name }, i) => [`${exercise}: ${name}`, i]), 0);
  const setting = make("select", {}), about = make("p", { className: "live-about" });
  const label = choices(data.names.map((name, i) => [name, i]), 3), count = number(2, 1, MORE), seed = number(0, 0, 2 ** 31 - 1);
  const guesses = make("fieldset", {}, make("legend", { textContent: "What will you see? Predict first." }),
    ...titles.map(title => make("label", {}, make("input", { type: "radio", name: "live-guess", value: title }), ` ${title}`)));
  const shelf = make("div", {}), progress = make("p", { className: "live-count" }), status = statusLine();
  const verdict = make("p", {});
  const chosen = () => data.mistakes[+mistake.value], table = () => data.tables[chosen().exercise][setting.value];

  function shelves(total, { oneStart }) {
    const from = i => oneStart ? `from noise ${+seed.value}, walk ${i + 1}` : `from noise ${+seed.value + i}`;
    const canvases = ["right", "wrong"].map(kind => Array.from({ length: total }, (_, i) => picture(width, height, `${kind}, ${from(i)}`, 3)));
    shelf.replaceChildren(...canvases.map(line => row(...line.map(([, figure]) => figure))));
    return canvases.map(line => line.map(([canvas]) => canvas));
  }
  function tell({ symptom, measured }, guess, name, { measured: right }) {
    verdict.replaceChildren(
      guess === symptom ? "Your prediction is what the symptom page says: " : `You predicted: ${guess}. The symptom page says: `,
      make("a", { href: "debugging.html", textContent: symptom }),
      `. Forty digits of this sampler, so set: ${scores(measured[name])}; of the right one: ${scores(right)}.`);
  }
  async function run() {
    const guess = guesses.querySelector("input:checked"), total = read(count, "digits", status), first = read(seed, "seed", status);
    if (total === null || first === null) return;
    if (!guess) { status.textContent = "Choose a prediction first."; guesses.querySelector("input").focus(); return; }
    const asked = chosen(), how = setting.value, used = table(), { levels, correct, wrong, steps, oneStart } = used;
    const canvases = shelves(total, used);
    const sides = [correct, wrong[asked.id]].map(rows => steps ? { steps, guesses: rows } : { steps: rows });
    status.textContent = "";
    verdict.textContent = "";
    try {
      const job = { do: "compare", label: +label.value, count: total, seed: first, levels, sides, oneStart };
      const done = await engine.run(job, ({ state, looks, seconds: time }) => {
        state.x.forEach((x, side) => paint(canvases[side][state.digit], toDisplay(x)));
        progress.textContent = `digit ${state.digit + 1} of ${total}, t = ${state.t}; ${looks} looks at the network, ${seconds(time)}`;
      });
      status.textContent = done.stopped ? "Stopped." : `Done: ${done.looks} looks at the network, ${seconds(done.seconds)}.`;
      if (!done.stopped) tell(asked, guess.value, how, used);
    } catch (error) {
      status.textContent = error.message;
    }
  }
  function set() { // another setting was chosen
    const quiet = setting.value !== "usual" && setting.value === chosen().setting;
    about.textContent = table().told + (quiet ? " At the usual setting this mistake hardly shows, or not at all." : "");
    if (table().oneStart) count.value = MORE;
    verdict.textContent = status.textContent = "";
  }
  function choose() { // another mistake was chosen
    const settings = Object.entries(data.tables[chosen().exercise]).filter(([, { wrong }]) => chosen().id in wrong);
    const options = settings.map(([name]) => make("option", { value: name, textContent: name === "usual" ? name : `louder: ${name}` }));
    setting.replaceChildren(...options);
    setting.value = chosen().setting;
    set();
    for (const input of guesses.querySelectorAll("input")) input.checked = false;
  }
  function follow() { // a link of the symptom page: #try-p_sample_05
    const found = data.mistakes.findIndex(({ key }) => location.hash === `#try-${key}`);
    if (found < 0) return;
    mistake.value = found;
    choose();
    box.scrollIntoView();
    mistake.focus();
  }
  mistake.addEventListener("change", () => { engine.stop(); choose(); });
  setting.addEventListener("change", set);
  window.addEventListener("hashchange", follow);
  box.append(row(labelled("wrong sampler", mistake)), row(labelled("setting", setting)), about, guesses,
    row(labelled("digit", label), labelled("how many", count), labelled("seed", seed)),
    row(button("Run both", run), button("Stop", () => engine.stop())), shelf, progress, status, verdict);
  choose();
  follow();
}
