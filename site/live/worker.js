// The thread that computes: jobs come in as messages {id, do, ...}; states go out as they are made, then {id, done}.
import { Network } from "./engine.js";
import { clipped, conditioned, denoiser, guidedByTable, makeSchedule, noiseStream, qSample, sampleByTable, sampleDdim, sampleEnds, sampleFlow } from "./diffusion.js";
import { trainPoints } from "./points.js";

const held = {}; // name -> {network, schedule, look, pixels, decode}, for each network that was sent; decode is of latents
let newest = 0, looks = 0; // looks: how often a network was asked in this job

// How each network walks from noise x to a digit. Latents have no range, so nothing is clipped.
const WALKS = {
  ddim: ({ look, schedule }, x, draw, { label, scale, steps, eta }) =>
    sampleDdim(denoiser(look, schedule, label, scale), schedule, x, steps, { eta, draw }),
  straight: ({ look, schedule }, x, draw, { label, scale, steps }) => sampleFlow(conditioned(look, label, scale), schedule, x, steps),
  ends: ({ look, schedule }, x, draw, { label, steps, levels }) =>
    sampleEnds(conditioned(look, label, 1), schedule, x, levels.slice(0, steps), draw),
  latents: ({ look, schedule }, x, draw, { label, scale, steps, eta }) =>
    sampleDdim(conditioned(look, label, scale), schedule, x, steps, { eta, draw }),
};

// A digit, or a page, from pure noise. Of latents also the pictures: of what the network looked at, and of its x̂_0.
function* grow(job) {
  const here = held[job.network], { draw } = noiseStream(job.seed, here.pixels);
  for (const state of WALKS[job.walk](here, draw(), draw, job))
    yield here.decode ? { ...state, pictures: [here.decode(state.before), here.decode(state.x_start)] } : state;
}

// A drawing, noised to job.level and brought back (SDEdit).
function bringBack({ network, drawing, level, noise, label, scale, steps, eta, seed }) {
  const { look, schedule, pixels } = held[network], { draw } = noiseStream(seed, pixels);
  const x = qSample(schedule, drawing, level, noise), epsModel = denoiser(look, schedule, label, scale);
  return sampleDdim(epsModel, schedule, x, Math.min(steps, level + 1), { eta, draw, start: level });
}

// The right sampler and a wrong one, side by side from the same noise, for some digits. Each is a table of steps, and of
// guidance where that is what is wrong. With oneStart all digits begin with the same noise; later noise is their own.
function* compare({ network, label, count, seed, levels, sides, oneStart }) {
  const { look, schedule, pixels } = held[network];
  for (let digit = 0; digit < count; digit++) {
    const walks = sides.map(({ steps, guesses }) => {
      const { draw } = noiseStream(seed + digit, pixels), own = draw(), x = oneStart ? noiseStream(seed, pixels).draw() : own;
      const guess = clipped(guesses ? guidedByTable(look, label, guesses) : conditioned(look, label, 1), schedule);
      return sampleByTable(guess, schedule, x, levels, steps, draw);
    });
    for (const t of levels) yield { digit, t, x: walks.map(walk => walk.next().value.x) };
  }
}

const JOBS = { start: () => [], grow, bringBack, compare, train: trainPoints };

function hold(name, model) {
  const network = new Network(model), pixels = network.inputs.x.reduce((a, b) => a * b);
  const look = (x, t, label) => { looks++; return network.forward(x, t, label); };
  const decoder = model.decoder && new Network(model.decoder), decode = decoder && (x => decoder.run({ x }));
  held[name] = { network, look, pixels, schedule: makeSchedule(model.betas), decode };
}

const pause = () => new Promise(go => { // lets a newer job, or a stop, come in
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = go;
  port2.postMessage(0);
});

async function work(job) {
  const began = performance.now();
  looks = 0;
  if (job.model) hold(job.network, job.model);
  for (const state of JOBS[job.do](job)) {
    if (newest !== job.id) return postMessage({ id: job.id, stopped: true });
    postMessage({ id: job.id, state, looks, seconds: (performance.now() - began) / 1000 });
    await pause();
  }
  const engine = held[job.network]?.network.kind;
  postMessage({ id: job.id, done: true, looks, engine, seconds: (performance.now() - began) / 1000 });
}

onmessage = async ({ data: job }) => {
  newest = job.id;
  try {
    if (job.do !== "stop") await work(job);
  } catch (error) {
    postMessage({ id: job.id, error: error.message });
  }
};
