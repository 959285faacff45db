// The notebook's drawing pad (sketch.js), answered by the page's own engine where a notebook's kernel would answer.
import { makeSchedule, noiseStream, qSample } from "./diffusion.js";
import { likeMnist, toDisplay } from "./mnist.js";
import { renderPad } from "./sketch.js";
import { seconds } from "./controls.js";

const STEPS = 50;
const a = name => `${/^[aeiou8]/i.test(name) ? "an" : "a"} ${name}`;

export function mountPad(box, engine, data) {
  const [, height, width] = data.model.inputs.x, pixels = height * width, schedule = makeSchedule(data.model.betas);
  const noise = noiseStream(Math.floor(Math.random() * 2 ** 31), pixels), paper = new Float32Array(pixels).fill(-1);
  const highest = schedule.length - 1, hearers = {};
  const state = {
    size: [height, width], names: data.names, noun: "digit", label: 3, level: Math.floor(highest / 2), highest,
    status: "Draw a digit, or take one.", panes: new Uint8Array(3 * pixels),
  };
  let drawing = paper, fresh = noise.draw();

  const fire = (event, message) => (hearers[event] || []).forEach(hear => hear(message));
  const set = (name, value) => { state[name] = value; fire(`change:${name}`); };
  const show = (x, x_start) => set("panes", Uint8Array.from([drawing, x, x_start].flatMap(image => [...toDisplay(image)])));
  const preview = () => { engine.stop(); show(qSample(schedule, drawing, state.level, fresh), paper); };

  const answers = {
    draw(_, [ink]) {
      const bytes = new Uint8Array(ink);
      drawing = likeMnist(Float32Array.from(bytes, grey => 1 - grey / 255), Math.sqrt(bytes.length));
      preview();
    },
    take({ digit }) {
      const those = data.digits[digit];
      drawing = those[Math.floor(Math.random() * those.length)].map(grey => grey / 127.5 - 1);
      preview();
      set("status", `${a(data.names[digit]).replace("a", "A")} from the test set.`);
      fire("msg:custom", { do: "show" });
    },
    clear() {
      drawing = paper;
      preview();
      set("status", "Draw a digit, or take one.");
    },
    async run({ level, label }) {
      fresh = noise.draw();
      Object.assign(state, { level, label });
      const wanted = label < 0 ? "any digit" : a(data.names[label]), steps = Math.min(STEPS, level + 1);
      set("status", `From t = ${level} as ${wanted} ...`);
      const job = { do: "bringBack", drawing, level, noise: fresh, label: label < 0 ? null : label, scale: data.scale, steps,
        eta: 1, seed: Math.floor(Math.random() * 2 ** 31) };
      try {
        const done = await engine.run(job, heard => show(heard.state.x, heard.state.x_start));
        set("status", done.stopped ? "Stopped." : `Brought back as ${wanted} from t = ${level}: ${steps} steps, ${done.looks} looks at the network, ${seconds(done.seconds)}.`);
      } catch (error) {
        set("status", error.message);
      }
    },
  };
  const model = {
    get: name => state[name],
    set: (name, value) => { state[name] = value; if (name === "level") preview(); },
    save_changes() {},
    on: (event, hear) => { (hearers[event] ||= []).push(hear); },
    send: (message, _, buffers) => answers[message.do](message, buffers),
  };
  preview();
  renderPad({ model, el: box });
}
