// A drawing as MNIST would hold it, and pixels as the screen shows them: diffusion_lib/data.py, like_mnist.
import { roundHalfEven } from "./diffusion.js";

const SIDE = 28, INSIDE = 20;

// ink: side x side numbers, 0 is paper and 1 is ink. Returns 28 x 28 numbers in [−1, 1]. The digit is cut out, fitted
// into 20 x 20 pixels, and placed with its centre of mass at (14, 14) (LeCun et al. 1998, section III.A).
export function likeMnist(ink, side) {
  const page = new Float32Array(SIDE * SIDE).fill(-1), rows = new Set(), columns = new Set();
  ink.forEach((value, i) => { if (value > 0.02) { rows.add(Math.floor(i / side)); columns.add(i % side); } });
  if (!rows.size) return page;
  const [top, bottom, left, right] = [Math.min(...rows), Math.max(...rows) + 1, Math.min(...columns), Math.max(...columns) + 1];
  const longest = Math.max(bottom - top, right - left);
  const [high, wide] = [bottom - top, right - left].map(length => Math.max(1, roundHalfEven((INSIDE * length) / longest)));
  const down = shrink(bottom - top, high), across = shrink(right - left, wide);
  const small = down.map(([y0, wy]) => across.map(([x0, wx]) =>
    wy.reduce((sum, a, i) => sum + a * wx.reduce((row, b, j) => row + b * ink[(top + y0 + i) * side + left + x0 + j], 0), 0)));
  let mass = 0, massY = 0, massX = 0;
  small.forEach((row, y) => row.forEach((value, x) => { mass += value; massY += value * y; massX += value * x; }));
  const place = (centre, length) => Math.min(Math.max(0, roundHalfEven(SIDE / 2 - centre)), SIDE - length);
  const y0 = place(massY / mass, high), x0 = place(massX / mass, wide);
  small.forEach((row, y) => row.forEach((value, x) => { page[(y0 + y) * SIDE + x0 + x] = 2 * value - 1; }));
  return page;
}

// For each of `to` pixels: the first of `from` pixels that it sees, and the weights of those: a triangle, summing to 1.
function shrink(from, to) {
  const scale = from / to, reach = Math.max(scale, 1);
  return Array.from({ length: to }, (_, i) => {
    const centre = scale * (i + 0.5), first = Math.max(0, Math.trunc(centre - reach + 0.5));
    const end = Math.min(from, Math.trunc(centre + reach + 0.5));
    const weights = Array.from({ length: end - first }, (_, j) => Math.max(0, 1 - Math.abs((j + first - centre + 0.5) / reach)));
    const sum = weights.reduce((a, b) => a + b, 0);
    return [first, weights.map(weight => weight / sum)];
  });
}

// [−1, 1] to bytes: 1 is ink, black on white paper
export const toDisplay = x => Uint8Array.from(x, v => Math.round((1 - Math.max(-1, Math.min(1, v))) * 127.5));
