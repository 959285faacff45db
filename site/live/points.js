// A small network that learns points of the plane, with its gradients and its optimiser, and the exact answer beside it.
import { makeSchedule, noiseStream, predictEps, sampleDdim } from "./diffusion.js";

const WAVES = 8, PERIOD = 100, TURNS = [0.5, 1, 2], HIDDEN = 64;
const WIDTH = 2 + WAVES + 4 * TURNS.length; // numbers that the network sees of one point
const BATCH = 128, RATE = 4e-3, SAMPLES = 200, JUMPS = 20, REPORT = 25, MEASURE = 5;
export const GRID = 13, REACH = 2; // arrows a side, and how far from the middle they reach

// Linear layers with silu between them. weights[l] is (out, in), row by row.
export class Mlp {
  constructor(sizes, normal) {
    this.sizes = sizes;
    this.weights = [], this.biases = [];
    for (let l = 0; l + 1 < sizes.length; l++) {
      this.weights.push(Float32Array.from({ length: sizes[l + 1] * sizes[l] }, () => normal() / Math.sqrt(sizes[l])));
      this.biases.push(new Float32Array(sizes[l + 1]));
    }
  }

  // inputs: `count` rows. Keeps what the way back needs; returns `count` rows of outputs.
  forward(inputs, count) {
    this.count = count;
    this.seen = [inputs], this.sums = [];
    this.weights.forEach((W, l) => {
      const [ins, outs] = [this.sizes[l], this.sizes[l + 1]], a = this.seen[l], z = new Float32Array(count * outs);
      for (let n = 0; n < count; n++)
        for (let o = 0; o < outs; o++) z[n * outs + o] = this.biases[l][o] + dot(W, o * ins, a, n * ins, ins);
      this.sums.push(z);
      this.seen.push(l + 1 < this.weights.length ? z.map(v => v / (1 + Math.exp(-v))) : z);
    });
    return this.seen.at(-1);
  }

  // The loss's slope at the outputs -> its slopes at all weights and biases (the chain rule, last layer first)
  backward(slope) {
    const weights = this.weights.map(W => new Float32Array(W.length)), biases = this.biases.map(b => new Float32Array(b.length));
    for (let l = this.weights.length - 1; l >= 0; l--) {
      const [ins, outs] = [this.sizes[l], this.sizes[l + 1]], a = this.seen[l], W = this.weights[l];
      const below = new Float32Array(this.count * ins);
      for (let n = 0; n < this.count; n++)
        for (let o = 0; o < outs; o++) {
          const d = slope[n * outs + o];
          biases[l][o] += d;
          for (let i = 0; i < ins; i++) {
            weights[l][o * ins + i] += d * a[n * ins + i];
            below[n * ins + i] += d * W[o * ins + i];
          }
        }
      if (l > 0) slope = below.map((d, i) => d * siluSlope(this.sums[l - 1][i]));
    }
    return { weights, biases };
  }
}

function dot(a, from, b, start, count) { // in two sums, so that one addition need not wait for the other
  let even = 0, odd = 0;
  for (let i = 0; i + 1 < count; i += 2) {
    even += a[from + i] * b[start + i];
    odd += a[from + i + 1] * b[start + i + 1];
  }
  return even + odd + (count % 2 ? a[from + count - 1] * b[start + count - 1] : 0);
}

const siluSlope = z => { const s = 1 / (1 + Math.exp(-z)); return s * (1 + z * (1 - s)); };

// L = mean of (ε − ε_θ)², and its slopes                                      (DDPM eq. 14)
export function lossAndGradients(mlp, inputs, targets) {
  const count = inputs.length / mlp.sizes[0], guess = mlp.forward(inputs, count);
  const loss = meanSquare(guess, targets);
  return { loss, ...mlp.backward(guess.map((v, i) => (2 * (v - targets[i])) / targets.length)) };
}

const meanSquare = (a, b) => a.reduce((sum, v, i) => sum + (v - b[i]) ** 2, 0) / a.length;

// Adam (Kingma and Ba 2015, Algorithm 1)
export class Adam {
  constructor(tables) {
    this.tables = tables;
    this.means = tables.map(table => new Float32Array(table.length));
    this.squares = tables.map(table => new Float32Array(table.length));
    this.steps = 0;
  }

  step(gradients, rate, beta1 = 0.9, beta2 = 0.999, eps = 1e-8) {
    this.steps++;
    const unbias1 = 1 - beta1 ** this.steps, unbias2 = 1 - beta2 ** this.steps;
    this.tables.forEach((table, k) => {
      const [g, m, v] = [gradients[k], this.means[k], this.squares[k]];
      for (let i = 0; i < table.length; i++) {
        m[i] = beta1 * m[i] + (1 - beta1) * g[i];
        v[i] = beta2 * v[i] + (1 - beta2) * g[i] ** 2;
        table[i] -= (rate * (m[i] / unbias1)) / (Math.sqrt(v[i] / unbias2) + eps);
      }
    });
  }
}

// x, y, their waves, and the waves of t, for each point; `levels` has one t for each
function features(xy, levels) {
  const out = new Float32Array(levels.length * WIDTH);
  levels.forEach((t, n) => {
    let at = n * WIDTH;
    const waves = angle => { out[at++] = Math.sin(angle); out[at++] = Math.cos(angle); };
    for (const place of [xy[2 * n], xy[2 * n + 1]]) {
      out[at++] = place;
      for (const turns of TURNS) waves(Math.PI * turns * place);
    }
    for (let i = 0; i < WAVES / 2; i++) waves(t * PERIOD ** (-i / (WAVES / 2)));
  });
  return out;
}

// What a Gaussian of the points' spread would answer, as a factor of x_t; the network learns the rest.
function gaussianShare(schedule, points, t) {
  const a = schedule.alphaBar(t), spread = points.reduce((sum, [x, y]) => sum + (x * x + y * y) / 2, 0) / points.length;
  return Math.sqrt(1 - a) / (a * spread + 1 - a);
}

// The exact guess where the data is these points: w_i ∝ exp(−‖x_t − √ᾱ_t · x⁽ⁱ⁾‖² / (2 (1 − ᾱ_t))), x̂_0 = Σ w_i x⁽ⁱ⁾
export function exactEps(schedule, points, xy, t) {
  const a = schedule.alphaBar(t), root = Math.sqrt(a), x_start = new Float32Array(xy.length);
  for (let n = 0; n < xy.length; n += 2) {
    const scores = points.map(([px, py]) => -((xy[n] - root * px) ** 2 + (xy[n + 1] - root * py) ** 2) / (2 * (1 - a)));
    const most = Math.max(...scores), weights = scores.map(s => Math.exp(s - most)), sum = weights.reduce((p, q) => p + q, 0);
    points.forEach(([px, py], i) => {
      x_start[n] += (weights[i] / sum) * px;
      x_start[n + 1] += (weights[i] / sum) * py;
    });
  }
  return predictEps(schedule, xy, t, x_start);
}

// Noised points of one batch: (x_t, t, ε)
function drawBatch(schedule, points, { uniform, normal }) {
  const xy = new Float32Array(2 * BATCH), noise = Float32Array.from({ length: 2 * BATCH }, normal), levels = [];
  for (let n = 0; n < BATCH; n++) {
    const point = points[Math.floor(uniform() * points.length)], t = Math.floor(uniform() * schedule.length);
    const a = schedule.alphaBar(t);
    levels.push(t);
    for (const axis of [0, 1]) xy[2 * n + axis] = Math.sqrt(a) * point[axis] + Math.sqrt(1 - a) * noise[2 * n + axis];
  }
  return { xy, levels, noise };
}

const exactBatch = (schedule, points, { xy, levels }) =>
  Float32Array.from(levels.flatMap((t, n) => [...exactEps(schedule, points, xy.subarray(2 * n, 2 * n + 2), t)]));

// Trains for job.steps steps, or job.seconds if those are over sooner; yields the loss on the way, and at the end what
// the network has learned: at each level the sample's points, and arrows, learned and exact.
export function* trainPoints(job) {
  const schedule = makeSchedule(job.betas), stream = noiseStream(job.seed, 2 * SAMPLES), points = job.points;
  const mlp = new Mlp([WIDTH, HIDDEN, HIDDEN, 2], stream.normal);
  const adam = new Adam([...mlp.weights, ...mlp.biases]), began = performance.now();
  const shares = Array.from({ length: schedule.length }, (_, t) => gaussianShare(schedule, points, t));
  let measured = [], step = 0, done = 0;
  while (done < 1) {
    const batch = drawBatch(schedule, points, stream), rest = batch.noise.map((e, i) => e - shares[batch.levels[i >> 1]] * batch.xy[i]);
    const found = lossAndGradients(mlp, features(batch.xy, batch.levels), rest);
    adam.step([...found.weights, ...found.biases], RATE * 0.5 * (1 + Math.cos(Math.PI * done)));
    if (step++ % MEASURE === 0)
      measured.push([found.loss, meanSquare(exactBatch(schedule, points, batch), batch.noise)]);
    done = Math.max(step / job.steps, (performance.now() - began) / 1000 / job.seconds);
    if (step % REPORT) continue;
    const [loss, floor] = [0, 1].map(k => measured.reduce((sum, pair) => sum + pair[k], 0) / measured.length);
    measured = [];
    yield { step, loss, floor };
  }
  const guess = (xy, t) => {
    const rest = mlp.forward(features(xy, Array(xy.length / 2).fill(t)), xy.length / 2);
    return rest.map((e, i) => e + shares[t] * xy[i]);
  };
  yield { step, field: learned(guess, schedule, points, stream) };
}

function learned(guess, schedule, points, { draw }) {
  const at = i => REACH * ((2 * i) / (GRID - 1) - 1);
  const grid = Float32Array.from({ length: 2 * GRID * GRID }, (_, k) => at(k % 2 ? Math.floor(k / 2 / GRID) : (k >> 1) % GRID));
  const states = [];
  let x = draw();
  for (const state of sampleDdim(guess, schedule, x, JUMPS, { eta: 1, draw })) {
    const { t } = state;
    states.push({ t, x, learned: guess(grid, t), exact: exactEps(schedule, points, grid, t) });
    x = state.x;
  }
  return [...states, { ...states.at(-1), t: -1, x }];
}
