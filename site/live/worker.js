// The thread that computes: jobs come in as messages {id, do, ...}; states go out as they are made, then {id, done}.
import { Network } from "./engine.js";
import { denoiser, conditioned, makeSchedule, noiseStream, qSample, sampleByTable, sampleDdim, sampleEnds, sampleFlow } from "./diffusion.js";
import { trainPoints } from "./points.js";

const held = {}; // name -> {network, schedule, look, pixels}, for each network that was sent
let newest = 0, looks = 0; // looks: how often a network was asked in this job

// How each network walks from noise x to a digit.
const WALKS = {
  ddim: ({ look, schedule }, x, draw, { label, scale, steps, eta }) =>
    sampleDdim(denoiser(look, schedule, label, scale), schedule, x, steps, { eta, draw }),
  straight: ({ look, schedule }, x, draw, { label, scale, steps }) => sampleFlow(conditioned(look, label, scale), schedule, x, steps),
  ends: ({ look, schedule }, x, draw, { label, steps, levels }) =>
    sampleEnds(conditioned(look, label, 1), schedule, x, levels.slice(0, steps), draw),
};

// A digit from pure noise.
function grow(job) {
  const here = held[job.network], { draw } = noiseStream(job.seed, here.pixels);
  return WALKS[job.walk](here, draw(), draw, job);
}

// A drawing, noised to job.level and brought back (SDEdit).
function bringBack({ network, drawing, level, noise, label, scale, steps, eta, seed }) {
  const { look, schedule, pixels } = held[network], { draw } = noiseStream(seed, pixels);
  const x = qSample(schedule, drawing, level, noise), epsModel = denoiser(look, schedule, label, scale);
  return sampleDdim(epsModel, schedule, x, Math.min(steps, level + 1), { eta, draw, start: level });
}

// The right sampler and a wrong one, side by side from the same noise, for some digits.
function* compare(job) {
  const { look, schedule, pixels } = held[job.network], epsModel = denoiser(look, schedule, job.label, 1);
  for (let digit = 0; digit < job.count; digit++) {
    const walks = job.tables.map(table => {
      const { draw } = noiseStream(job.seed + digit, pixels);
      return sampleByTable(epsModel, schedule, draw(), job.levels, table, draw);
    });
    for (const t of job.levels) yield { digit, t, x: walks.map(walk => walk.next().value.x) };
  }
}

const JOBS = { start: () => [], grow, bringBack, compare, train: trainPoints };

function hold(name, model) {
  const network = new Network(model), pixels = network.inputs.x.reduce((a, b) => a * b);
  const look = (x, t, label) => { looks++; return network.forward(x, t, label); };
  held[name] = { network, look, pixels, schedule: makeSchedule(model.betas) };
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
