// The thread that computes: jobs come in as messages {id, do, ...}; states go out as they are made, then {id, done}.
import { Network } from "./engine.js";
import { denoiser, makeSchedule, noiseStream, qSample, sampleByTable, sampleDdim } from "./diffusion.js";
import { trainPoints } from "./points.js";

let network = null, schedule = null, newest = 0;

// A digit, from pure noise or, where job.drawing is given, from the drawing noised to job.level (SDEdit).
function* grow(job) {
  const pixels = network.inputs.x.reduce((a, b) => a * b), { draw } = noiseStream(job.seed, pixels);
  const epsModel = denoiser(look, schedule, job.label, job.scale), start = job.level ?? schedule.length - 1;
  const x = job.drawing ? qSample(schedule, job.drawing, start, job.noise) : draw();
  let before = x; // what the network looked at in this step
  for (const state of sampleDdim(epsModel, schedule, x, Math.min(job.steps, start + 1), { eta: job.eta, draw, start })) {
    yield { ...state, before };
    before = state.x;
  }
}

// The right sampler and a wrong one, side by side from the same noise, for some digits.
function* compare(job) {
  const pixels = network.inputs.x.reduce((a, b) => a * b), epsModel = denoiser(look, schedule, job.label, 1);
  for (let digit = 0; digit < job.count; digit++) {
    const walks = job.tables.map(table => {
      const { draw } = noiseStream(job.seed + digit, pixels);
      return sampleByTable(epsModel, schedule, draw(), job.levels, table, draw);
    });
    for (const t of job.levels) yield { digit, t, x: walks.map(walk => walk.next().value.x) };
  }
}

let looks = 0; // how often the network was asked in this job
function look(x, t, label) {
  looks++;
  return network.forward(x, t, label);
}

const JOBS = { grow, compare, train: trainPoints };

function start({ model }) {
  network = new Network(model);
  schedule = makeSchedule(model.betas);
  return network.kind;
}

const pause = () => new Promise(go => { // lets a newer job, or a stop, come in
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = go;
  port2.postMessage(0);
});

async function work(job) {
  const began = performance.now();
  looks = 0;
  for (const state of JOBS[job.do](job)) {
    if (newest !== job.id) return postMessage({ id: job.id, stopped: true });
    postMessage({ id: job.id, state, looks, seconds: (performance.now() - began) / 1000 });
    await pause();
  }
  postMessage({ id: job.id, done: true, looks, seconds: (performance.now() - began) / 1000 });
}

onmessage = async ({ data: job }) => {
  newest = job.id;
  try {
    if (job.do === "start") postMessage({ id: job.id, done: true, engine: start(job) });
    else if (job.do !== "stop") await work(job);
  } catch (error) {
    postMessage({ id: job.id, error: error.message });
  }
};
