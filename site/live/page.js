// Starts the page: its data, its thread, its five parts.
import { Engine } from "./client.js";
import { mountCompare } from "./compare.js";
import { mountGrow } from "./grow.js";
import { mountPad } from "./pad.js";
import { mountTrain } from "./train.js";
import { mountWords } from "./words.js";

function startPage() {
  const status = document.getElementById("live-status"), text = id => document.getElementById(id).textContent;
  if (typeof Worker !== "function") {
    status.textContent = "This browser has no threads (Web Workers), so nothing here can run. The notebooks' pages show recorded frames.";
    return;
  }
  const data = JSON.parse(text("live-data"));
  data.digits = unpackDigits(data);
  const later = [...data.networks.slice(1), data.prompts]; // read when chosen
  const others = later.map(({ key }) => [key, () => JSON.parse(text(`live-network-${key}`))]);
  const first = data.networks[0].key, engine = new Engine(text("live-worker"), { [first]: () => data.model, ...Object.fromEntries(others) });
  const parts = { "live-grow": mountGrow, "live-draw": mountPad, "live-words": mountWords, "live-compare": mountCompare, "live-train": mountTrain };
  for (const [id, mount] of Object.entries(parts)) mount(document.getElementById(id), engine, data);
  engine.ready.then(
    ({ engine: kind }) => {
      const slower = kind === "WebAssembly" ? "" : " This browser has no WebAssembly vectors: each look takes several times as long.";
      status.textContent = `The network is ready.${slower}`;
      performance.mark("live-ready");
    },
    error => { status.textContent = `The network could not be started: ${error.message}`; });
}

// label -> test digits, bytes
function unpackDigits({ digitBytes, names, model }) {
  const bytes = Uint8Array.from(atob(digitBytes), c => c.charCodeAt(0)), [, height, width] = model.inputs.x;
  const all = Array.from({ length: bytes.length / (height * width) }, (_, i) =>
    Float32Array.from(bytes.subarray(i * height * width, (i + 1) * height * width)));
  return names.map((_, label) => all.filter((_, i) => i % names.length === label));
}

startPage();
