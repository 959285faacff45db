// The equations of diffusion_lib/diffusion.py, guidance.py, samplers.py, flow.py and consistency.py, for one image: an
// array of numbers.

const combine = (a, x, b, y) => x.map((value, i) => a * value + b * y[i]);

// ᾱ_t for t = 0 ... T−1, and ᾱ = 1 for t = −1, the clean image
export function makeSchedule(betas) {
  const alphaBar = [];
  for (const beta of betas) alphaBar.push((alphaBar.at(-1) ?? 1) * (1 - beta));
  return { betas, length: betas.length, alphaBar: t => (t < 0 ? 1 : alphaBar[t]) };
}

// x_t = √ᾱ_t · x_0 + √(1 − ᾱ_t) · ε                                          (DDPM eq. 4)
export function qSample(schedule, x_start, t, noise) {
  const a = schedule.alphaBar(t);
  return combine(Math.sqrt(a), x_start, Math.sqrt(1 - a), noise);
}

// x̂_0 = (x_t − √(1 − ᾱ_t) · ε) / √ᾱ_t                                        (DDPM eq. 15)
export function predictXStart(schedule, x_t, t, eps) {
  const a = schedule.alphaBar(t);
  return combine(1 / Math.sqrt(a), x_t, -Math.sqrt((1 - a) / a), eps);
}

// ε = (x_t − √ᾱ_t · x_0) / √(1 − ᾱ_t)
export function predictEps(schedule, x_t, t, x_start) {
  const a = schedule.alphaBar(t);
  return combine(1 / Math.sqrt(1 - a), x_t, -Math.sqrt(a / (1 - a)), x_start);
}

// x_{t−1} = 1/√α_t · (x_t − β_t / √(1 − ᾱ_t) · ε_θ) + √β̃_t · z               (DDPM Algorithm 2, line 4)
export function pSample(schedule, x_t, t, eps, noise) {
  const beta = schedule.betas[t], a = schedule.alphaBar(t), before = schedule.alphaBar(t - 1);
  const mean = combine(1 / Math.sqrt(1 - beta), x_t, -beta / Math.sqrt((1 - a) * (1 - beta)), eps);
  return combine(1, mean, Math.sqrt(((1 - before) / (1 - a)) * beta), noise);
}

// σ = η · √((1 − ᾱ_prev) / (1 − ᾱ_t) · (1 − ᾱ_t / ᾱ_prev))
// x_prev = √ᾱ_prev · x̂_0 + √(1 − ᾱ_prev − σ²) · ε_θ + σ · z                   (DDIM eq. 12 and 16)
export function ddimStep(schedule, x_t, t, t_prev, eps, noise, eta) {
  const a = schedule.alphaBar(t), before = schedule.alphaBar(t_prev);
  const std = eta * Math.sqrt(((1 - before) / (1 - a)) * (1 - a / before));
  const direction = Math.sqrt(Math.max(0, 1 - before - std ** 2));
  const mean = combine(Math.sqrt(before), predictXStart(schedule, x_t, t, eps), direction, eps);
  return combine(1, mean, std, noise);
}

// ε = ε_u + scale · (ε_c − ε_u)                                              (Ho and Salimans 2022, eq. 6)
export const guided = (eps_u, eps_c, scale) => combine(1 - scale, eps_u, scale, eps_c);

// The network with its label fixed, guided unless scale is 1. look(x, t, label) is the network; label null is no label.
export function conditioned(look, label, scale) {
  return (x, t) => label === null || scale === 1 ? look(x, t, label) : guided(look(x, t, null), look(x, t, label), scale);
}

// Guidance given as numbers: ε = p · ε_u + q · ε_c + r · ε_0 at step i, with one row (p, q, r) for each. The three are
// the guesses without a label, with it, and with the digit 0; one whose number is 0 is not asked for.
export function guidedByTable(look, label, table) {
  return (x, t, i) => [null, label, 0].reduce(
    (sum, told, k) => (table[i][k] ? combine(1, sum, table[i][k], look(x, t, told)) : sum), new Float32Array(x.length));
}

// A predictor of noise whose x̂_0 is held inside [−1, 1].
export function clipped(plain, schedule) {
  return (x, t, i) => {
    const x_start = predictXStart(schedule, x, t, plain(x, t, i)).map(v => Math.max(-1, Math.min(1, v)));
    return predictEps(schedule, x, t, x_start);
  };
}

// The predictor of noise that a sample is drawn with: label fixed, guided unless scale is 1, x̂_0 clipped.
export const denoiser = (look, schedule, label, scale) => clipped(conditioned(look, label, scale), schedule);

// numSteps levels from T−1 down to 0, evenly spaced; halves go to the even number, as in PyTorch
export function ddimTimesteps(numTimesteps, numSteps) {
  if (!(numSteps >= 1 && numSteps <= numTimesteps))
    throw new Error(`steps must lie in 1 ... ${numTimesteps}, but is ${numSteps}.`);
  const gap = numSteps > 1 ? (numTimesteps - 1) / (numSteps - 1) : 0;
  return Array.from({ length: numSteps }, (_, i) => roundHalfEven(numTimesteps - 1 - i * gap));
}

export function roundHalfEven(value) {
  const below = Math.floor(value), rest = value - below;
  return rest < 0.5 || (rest === 0.5 && below % 2 === 0) ? below : below + 1;
}

// Yields {t, before, x, x_start} for each jump: before is what the network looked at. draw() gives the fresh noise; start
// is the level of x.
export function* sampleDdim(epsModel, schedule, x, numSteps, { eta = 0, draw, start = schedule.length - 1 }) {
  const times = ddimTimesteps(start + 1, numSteps);
  for (const [i, t] of times.entries()) {
    const eps = epsModel(x, t), before = x, x_start = predictXStart(schedule, x, t, eps);
    x = ddimStep(schedule, x, t, times[i + 1] ?? -1, eps, eta ? draw() : new Float32Array(x.length), eta);
    yield { t, before, x, x_start };
  }
}

// τ_t = s / (a + s) with a = √ᾱ_t and s = √(1 − ᾱ_t): where level t lies on a straight path; 0 for the clean image
export function pathTime(schedule, t) {
  const a = Math.sqrt(schedule.alphaBar(t)), s = Math.sqrt(1 - schedule.alphaBar(t));
  return s / (a + s);
}

// The levels, T−1 first, that lie nearest to numSteps times τ spaced evenly from the last level's to 0
export function evenLevels(schedule, numSteps) {
  const taus = schedule.betas.map((_, t) => pathTime(schedule, t)), last = taus.at(-1);
  return Array.from({ length: numSteps }, (_, i) => {
    const apart = taus.map(tau => Math.abs(last * (1 - i / numSteps) - tau));
    return apart.indexOf(Math.min(...apart));
  });
}

// x_τ' = x_τ + (τ' − τ) · u: Euler's pieces along straight paths (Liu et al. 2023). velocity(x, t) is the network.
// x̂_0 = x_τ − τ · u is where the path would end if it were straight.
export function* sampleFlow(velocity, schedule, x, numSteps) {
  const levels = evenLevels(schedule, numSteps), a = schedule.alphaBar(levels[0]), length = Math.sqrt(a) + Math.sqrt(1 - a);
  x = x.map(value => value / length);
  for (const [i, t] of levels.entries()) {
    const tau = pathTime(schedule, t), u = velocity(x, t), before = x, x_start = combine(1, x, -tau, u);
    x = combine(1, x, pathTime(schedule, levels[i + 1] ?? -1) - tau, u);
    yield { t, before, x, x_start };
  }
}

// f(x_t, t) = (x_t − s · ε_θ) / max(a, s / 3): the end of the path through x_t    (Song et al. 2023, consistency models)
export function pathEnd(schedule, x_t, t, eps) {
  const a = Math.sqrt(schedule.alphaBar(t)), s = Math.sqrt(1 - schedule.alphaBar(t)), below = Math.max(a, s / 3);
  return combine(1 / below, x_t, -s / below, eps);
}

// One look at each of levels, T−1 first: jump to an image; noise it to the next level, and jump again (Algorithm 1).
export function* sampleEnds(epsModel, schedule, x, levels, draw) {
  for (const [i, t] of levels.entries()) {
    const before = i ? qSample(schedule, x, t, draw()) : x, x_start = pathEnd(schedule, before, t, epsModel(before, t));
    x = x_start.map(value => Math.max(-1, Math.min(1, value)));
    yield { t, before, x, x_start };
  }
}

// A sampler given as numbers: at each level x ← a · x + b · ε_θ + c · z, with one row (a, b, c) for each.
export function* sampleByTable(epsModel, schedule, x, levels, table, draw) {
  for (const [i, t] of levels.entries()) {
    const eps = epsModel(x, t, i), x_start = predictXStart(schedule, x, t, eps), [a, b, c] = table[i];
    x = combine(1, combine(a, x, b, eps), c, draw());
    yield { t, x, x_start };
  }
}

// Normal numbers from a seed: mulberry32, then Box and Muller. One stream gives x_T first and then every z.
export function noiseStream(seed, count) {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = Math.imul(state ^ (state >>> 15), state | 1);
    z = (z + Math.imul(z ^ (z >>> 7), z | 61)) ^ z;
    return (((z ^ (z >>> 14)) >>> 0) + 0.5) / 2 ** 32;
  };
  const normal = () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
  return { uniform, normal, draw: () => Float32Array.from({ length: count }, normal) };
}
