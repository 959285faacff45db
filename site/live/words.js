// Pages of four digits from a prompt: drawn as latents by the network of notebook 09, and decoded by its autoencoder.
import { make, paint } from "./sketch.js";
import { toDisplay } from "./mnist.js";
import { encodePrompt, heldOut, rowsOf } from "./prompts.js";
import { button, labelled, number, picture, row } from "./controls.js";
import { mountWalk } from "./walk.js";

const GAP = 1, FAR = 3; // pixels between the channels; a number as large as this is black

// The channels of a latent beside each other
function besideEachOther(x, [channels, height, width]) {
  const across = channels * (width + GAP) - GAP, shown = new Float32Array(across * height).fill(-FAR);
  for (let c = 0; c < channels; c++)
    for (let y = 0; y < height; y++)
      shown.set(x.subarray((c * height + y) * width, (c * height + y + 1) * width), y * across + c * (width + GAP));
  return toDisplay(shown.map(value => value / FAR));
}

export function mountWords(box, engine, { prompts }) {
  const { language, latent, page: [height, width] } = prompts, say = pair => pair.map(digit => language.words[digit]).join(" ");
  const prompt = make("input", { type: "text", value: prompts.examples[0], autocomplete: "off", spellcheck: false, className: "live-prompt" });
  const fields = { steps: number(prompts.steps, 1, prompts.most), guidance: number(prompts.scale, 0, 10, 0.1), η: number(1, 0, 1, 0.1), seed: number(0, 0, 2 ** 31 - 1) };
  const asked = make("p", { className: "live-asked" });
  const [inside, insideFigure] = picture(latent[0] * (latent[2] + GAP) - GAP, latent[1], `the state x_t: ${latent[0]} channels of ${latent[1]} × ${latent[2]} numbers`, 6);
  const [now, nowFigure] = picture(width, height, "x_t, decoded", 3);
  const [clean, cleanFigure] = picture(width, height, "the clean page that the network sees in it, x̂_0, decoded", 3);
  const walk = mountWalk(engine, "Drawn", ({ x, pictures }) => {
    paint(inside, besideEachOther(x, latent));
    paint(now, toDisplay(pictures[0]));
    paint(clean, toDisplay(pictures[1]));
  });

  function tell(numbers) {
    const rows = rowsOf(numbers, language), fresh = heldOut(rows, language), quoted = fresh.map(pair => `“${say(pair)}”`);
    asked.textContent = `Asked for: ${say(rows[0])} in the upper row, ${say(rows[1])} in the lower. ` + (fresh.length
      ? `Held out: on no page of training does ${quoted.join(" or ")} stand side by side.`
      : "Training has pages with each of these pairs side by side.");
  }
  const run = () => walk.run(fields, () => {
    try {
      const label = encodePrompt(prompt.value, language);
      tell(label);
      return { do: "grow", network: prompts.key, walk: prompts.walk, label };
    } catch (error) {
      asked.textContent = "";
      walk.status.textContent = error.message;
      prompt.focus();
      return null;
    }
  });
  const examples = prompts.examples.map(text => {
    const isNew = heldOut(rowsOf(encodePrompt(text, language), language), language).length > 0;
    return button(isNew ? `${text} (held out)` : text, () => { prompt.value = text; run(); });
  });
  const next = () => { fields.seed.value = (+fields.seed.value + 1) % 2 ** 31; run(); };
  prompt.addEventListener("keydown", event => { if (event.key === "Enter") run(); });
  box.append(
    row(labelled("prompt", prompt)),
    make("p", { className: "live-about", textContent: `Words: ${language.words.join(", ")}.` }),
    row("Examples:", ...examples),
    row(...Object.entries(fields).map(([name, input]) => labelled(name, input))),
    row(button("Draw it", run), button("Next seed", next), button("Stop", () => engine.stop())),
    asked, row(insideFigure, nowFigure, cleanFigure), row(walk.slider.box), walk.count, walk.status);
  walk.slider.upTo(0);
}
