// Runs the list of operations that diffusion_lib/showing/exporting.py writes. It knows operations, not the network.
//
// A value of shape (C, ...) lies in memory as C rows of N numbers, N = the pixels or tokens, each row filled up to a
// multiple of 4 and the rows to a multiple of 8: what the product W X + b of wasm.js takes. The rest is plain loops.
import { COLUMNS, ROWS, multiplyModule } from "./wasm.js";

const upTo = (n, multiple) => Math.ceil(n / multiple) * multiple;
const sizeOf = shape => shape.reduce((a, b) => a * b, 1);

// Numbers of one kind from base64; none at all where the text is no whole number of them.
function decode(Kind, base64) {
  try {
    const text = atob(base64), bytes = new Uint8Array(text.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i);
    return new Kind(bytes.buffer);
  } catch {
    return new Kind(0);
  }
}

// Y = W X + b in plain loops, from the same packed W: for browsers without WebAssembly's vectors.
function plainMultiply(memory) {
  return (w, x, y, blocks, depth, strideBytes) => {
    const stride = strideBytes / 4;
    for (let row = 0; row < blocks * ROWS; row++) {
      const panel = w / 4 + Math.floor(row / ROWS) * ROWS * (depth + 1) + (row % ROWS), to = y / 4 + row * stride;
      memory.fill(memory[panel], to, to + stride); // the bias
      for (let k = 0; k < depth; k++) addRow(memory, to, memory[panel + ROWS * (k + 1)], x / 4 + k * stride, stride);
    }
  };
}

function addRow(memory, to, weight, from, count) {
  for (let n = 0; n < count; n++) memory[to + n] += weight * memory[from + n];
}

export class Network {
  // description: what exporting.describe wrote. vectors = false keeps to plain loops.
  constructor(description, { vectors = true } = {}) {
    this.inputs = description.inputs;
    this.nullLabel = description.null_label;
    this.layers = description.layers;
    this.readTensors(description);
    this.planMemory();
    this.start(vectors);
    for (const layer of this.layers) if (isProduct(layer)) this.packWeights(layer);
  }

  // Each row of a tensor is 16-bit integers, and one number for what an integer is worth; a vector is one row.
  readTensors({ tensors, weights, units }) {
    const integers = decode(Int16Array, weights), worth = decode(Float32Array, units);
    const shapes = Object.entries(tensors), rowsOf = shape => (shape.length > 1 ? shape[0] : 1);
    const [all, rows] = [sizeOf, rowsOf].map(count => shapes.reduce((sum, [, shape]) => sum + count(shape), 0));
    if (integers.length !== all || worth.length !== rows || !worth.every(Number.isFinite))
      throw new Error(`the weights are damaged: ${integers.length} numbers in ${worth.length} rows, but the layers need ${all} in ${rows}.`);
    this.tensors = {};
    let at = 0, row = 0;
    for (const [name, shape] of shapes) {
      const values = new Float32Array(sizeOf(shape)), each = values.length / rowsOf(shape);
      for (let i = 0; i < values.length; i++) values[i] = integers[at + i] * worth[row + Math.floor(i / each)];
      this.tensors[name] = values;
      at += values.length;
      row += rowsOf(shape);
    }
  }

  // Where each value and each packed matrix lies: {at, rows, columns, stride}, in numbers, not bytes.
  planMemory() {
    let end = 0;
    const take = count => { const at = end; end += upTo(count, COLUMNS); return at; };
    this.values = {};
    const place = (name, shape) => {
      const rows = shape[0], columns = sizeOf(shape.slice(1)), stride = upTo(columns, COLUMNS);
      this.values[name] = { at: take(upTo(rows, ROWS) * stride), shape, rows, columns, stride };
    };
    for (const [name, shape] of Object.entries(this.inputs)) place(name, shape);
    let patches = 0;
    for (const layer of this.layers) {
      place(layer.name, layer.shape);
      if (!isProduct(layer)) continue;
      const depth = this.tensors[layer.weight].length / layer.shape[0];
      layer.matrix = { at: take(upTo(layer.shape[0], ROWS) * (depth + 1)), depth };
      if (!gathers(layer)) continue;
      layer.sources = sourcesOf(layer, this.values[layer.name].shape, this.values[layer.of[0]].shape);
      patches = Math.max(patches, depth * this.values[layer.name].stride);
    }
    this.patches = take(patches);
    this.size = end;
  }

  start(vectors) {
    const bytes = 4 * this.size, code = multiplyModule();
    if (vectors && typeof WebAssembly === "object" && WebAssembly.validate(code)) {
      const memory = new WebAssembly.Memory({ initial: Math.ceil(bytes / 65536) });
      const instance = new WebAssembly.Instance(new WebAssembly.Module(code), { page: { memory } });
      this.memory = new Float32Array(memory.buffer, 0, this.size);
      this.multiply = instance.exports.multiply;
      this.kind = "WebAssembly";
    } else {
      this.memory = new Float32Array(this.size);
      this.multiply = plainMultiply(this.memory);
      this.kind = "plain JavaScript";
    }
  }

  // Blocks of 8 rows of W; in a block first the 8 biases, then column by column.
  packWeights({ weight, bias, shape, matrix: { at, depth } }) {
    const W = this.tensors[weight], b = bias ? this.tensors[bias] : null;
    for (let row = 0; row < shape[0]; row++) {
      const start = at + Math.floor(row / ROWS) * ROWS * (depth + 1) + (row % ROWS);
      this.memory[start] = b ? b[row] : 0;
      for (let k = 0; k < depth; k++) this.memory[start + ROWS * (k + 1)] = W[row * depth + k];
    }
  }

  write(name, numbers) {
    const { at, rows, columns, stride } = this.values[name];
    for (let r = 0; r < rows; r++)
      for (let n = 0; n < columns; n++) this.memory[at + r * stride + n] = numbers[r * columns + n];
  }

  // The value called name of the last forward pass, in PyTorch's order for one image; tokens are (C, N).
  read(name) {
    const { at, rows, columns, stride } = this.values[name], out = new Float32Array(rows * columns);
    for (let r = 0; r < rows; r++) out.set(this.memory.subarray(at + r * stride, at + r * stride + columns), r * columns);
    return out;
  }

  // The predicted noise ε_θ(x_t, t, label), as long as x. A label is a number, a prompt one number for each word; null is
  // the null label, or a prompt of null words.
  forward(x, t, label) {
    const labels = label === null ? Array(sizeOf(this.inputs.label)).fill(this.nullLabel) : [label].flat();
    for (const each of labels)
      if (!(Number.isInteger(each) && each >= 0 && each <= this.nullLabel))
        throw new Error(`label must lie in 0 ... ${this.nullLabel - 1}, or be null, but is ${label}.`);
    return this.run({ x, t: [t], label: labels });
  }

  // What the last operation makes of these inputs: name -> numbers
  run(inputs) {
    for (const [name, numbers] of Object.entries(inputs)) {
      const count = sizeOf(this.inputs[name]);
      if (numbers.length !== count) throw new Error(`${name} must hold ${count} numbers, but has ${numbers.length}.`);
      this.write(name, numbers);
    }
    for (const layer of this.layers) {
      if (!(layer.op in OPERATIONS)) throw new Error(`the engine knows no operation ${layer.op}.`);
      OPERATIONS[layer.op](this, layer, this.values[layer.name], ...layer.of.map(name => this.values[name]));
    }
    return this.read(this.layers[this.layers.length - 1].name);
  }
}

const isProduct = layer => layer.op === "conv" || layer.op === "linear";
const gathers = layer => layer.op === "conv" && (layer.kernel > 1 || layer.stride > 1 || layer.repeat > 1);

// Each takes (network, layer, where the result goes, where the inputs are).
const OPERATIONS = {
  // sin(ω_i t) ... cos(ω_i t), ω_i = period^(−i / (dim/2))
  waves({ memory }, { period }, out, t) {
    const half = out.rows / 2;
    for (let i = 0; i < half; i++) {
      const angle = Math.fround(memory[t.at] * Math.fround(period ** (-i / half)));
      memory[out.at + i * out.stride] = Math.sin(angle);
      memory[out.at + (half + i) * out.stride] = Math.cos(angle);
    }
  },

  // For each label, or word, its row of the table as a token
  embedding({ memory, tensors }, { weight }, out, label) {
    for (let n = 0; n < out.columns; n++) writeToken(memory, out, n, tensors[weight], memory[label.at + n]);
  },

  // The first row of the table is the first token
  rows_as_tokens({ memory, tensors }, { weight }, out) {
    for (let n = 0; n < out.columns; n++) writeToken(memory, out, n, tensors[weight], n);
  },

  // One long vector, dealt into tokens: the first C numbers are the first token.
  deal({ memory }, _, out, x) {
    for (let c = 0; c < out.rows; c++)
      for (let n = 0; n < out.columns; n++)
        memory[out.at + c * out.stride + n] = memory[x.at + (n * out.rows + c) * x.stride];
  },

  // Y = W X + b
  linear(network, { matrix: { at, depth } }, out, x) {
    network.multiply(4 * at, 4 * x.at, 4 * out.at, upTo(out.rows, ROWS) / ROWS, depth, 4 * out.stride);
  },

  conv(network, layer, out, x) {
    const { at, depth } = layer.matrix;
    if (gathers(layer)) gatherPatches(network, layer, out, x);
    const from = gathers(layer) ? network.patches : x.at;
    network.multiply(4 * at, 4 * from, 4 * out.at, upTo(out.rows, ROWS) / ROWS, depth, 4 * out.stride);
  },

  // (x − mean) / √(variance + eps), over the channels of a group and all pixels; then scaled and shifted by channel
  group_norm({ memory, tensors }, { groups, weight, bias, eps }, out, x) {
    const scale = tensors[weight], shift = tensors[bias], each = x.rows / groups;
    for (let g = 0; g < groups; g++) {
      let sum = 0, squares = 0;
      for (let r = g * each; r < (g + 1) * each; r++)
        for (let n = 0, i = x.at + r * x.stride; n < x.columns; n++, i++) sum += memory[i];
      const mean = sum / (each * x.columns);
      for (let r = g * each; r < (g + 1) * each; r++)
        for (let n = 0, i = x.at + r * x.stride; n < x.columns; n++, i++) squares += (memory[i] - mean) ** 2;
      const factor = 1 / Math.sqrt(squares / (each * x.columns) + eps);
      for (let r = g * each; r < (g + 1) * each; r++) {
        const by = factor * scale[r], add = shift[r] - mean * by;
        for (let n = 0, i = r * x.stride; n < x.columns; n++, i++) memory[out.at + i] = memory[x.at + i] * by + add;
      }
    }
  },

  // The same over the channels of each token
  layer_norm({ memory, tensors }, { weight, bias, eps }, out, x) {
    const scale = tensors[weight], shift = tensors[bias];
    for (let n = 0; n < x.columns; n++) {
      let sum = 0, squares = 0;
      for (let r = 0; r < x.rows; r++) sum += memory[x.at + r * x.stride + n];
      const mean = sum / x.rows;
      for (let r = 0; r < x.rows; r++) squares += (memory[x.at + r * x.stride + n] - mean) ** 2;
      const factor = 1 / Math.sqrt(squares / x.rows + eps);
      for (let r = 0; r < x.rows; r++) {
        const i = r * x.stride + n;
        memory[out.at + i] = (memory[x.at + i] - mean) * factor * scale[r] + shift[r];
      }
    }
  },

  silu({ memory }, _, out, x) {
    for (let i = 0, end = x.rows * x.stride; i < end; i++) {
      const v = memory[x.at + i];
      memory[out.at + i] = v / (1 + Math.exp(-v));
    }
  },

  gelu({ memory }, _, out, x) {
    for (let i = 0, end = x.rows * x.stride; i < end; i++) {
      const v = memory[x.at + i];
      memory[out.at + i] = 0.5 * v * (1 + erf(v * Math.SQRT1_2));
    }
  },

  // b has the shape of a, or one number for each channel
  add({ memory }, _, out, a, b) {
    for (let r = 0; r < a.rows; r++)
      for (let n = 0; n < a.stride; n++)
        memory[out.at + r * a.stride + n] = memory[a.at + r * a.stride + n] + memory[b.at + r * b.stride + (b.columns === 1 ? 0 : n)];
  },

  concat({ memory }, _, out, ...parts) {
    let at = out.at;
    for (const part of parts) {
      memory.copyWithin(at, part.at, part.at + part.rows * part.stride);
      at += part.rows * part.stride;
    }
  },

  // Channels start ... start + C − 1 of x
  slice({ memory }, { start }, out, x) {
    memory.copyWithin(out.at, x.at + start * x.stride, x.at + (start + out.rows) * x.stride);
  },

  scale({ memory }, { by }, out, x) {
    for (let i = 0, end = x.rows * x.stride; i < end; i++) memory[out.at + i] = by * memory[x.at + i];
  },

  // softmax(Qᵀ K / √d) V for each head; q is (C, N), kv holds K and V one above the other, (2 C, M)
  attention({ memory }, { heads }, out, q, kv) {
    const d = q.rows / heads, N = q.columns, M = kv.columns;
    const query = new Float32Array(d), weights = new Float32Array(M);
    for (let head = 0; head < heads; head++) {
      const Q = q.at + head * d * q.stride, K = kv.at + head * d * kv.stride, V = K + q.rows * kv.stride;
      const to = out.at + head * d * out.stride;
      for (let n = 0; n < N; n++) {
        for (let c = 0; c < d; c++) query[c] = memory[Q + c * q.stride + n] / Math.sqrt(d);
        weights.fill(0);
        for (let c = 0, row = K; c < d; c++, row += kv.stride)
          for (let m = 0; m < M; m++) weights[m] += query[c] * memory[row + m];
        softmax(weights);
        for (let c = 0, row = V; c < d; c++, row += kv.stride) {
          let sum = 0;
          for (let m = 0; m < M; m++) sum += weights[m] * memory[row + m];
          memory[to + c * out.stride + n] = sum;
        }
      }
    }
  },

  // patch x patch pixels become channels, and back
  unshuffle({ memory }, { patch }, out, x) {
    eachPixel(x.shape, patch, (big, row, small) => { memory[out.at + row * out.stride + small] = memory[place(x, big)]; });
  },

  shuffle({ memory }, { patch }, out, x) {
    eachPixel(out.shape, patch, (big, row, small) => { memory[place(out, big)] = memory[x.at + row * x.stride + small]; });
  },
};

function writeToken(memory, out, n, table, row) {
  for (let i = 0; i < out.rows; i++) memory[out.at + i * out.stride + n] = table[row * out.rows + i];
}

const place = (value, i) => value.at + Math.floor(i / value.columns) * value.stride + (i % value.columns);

function eachPixel([channels, height, width], patch, visit) {
  for (let c = 0, i = 0; c < channels; c++)
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++, i++) {
        const row = (c * patch + (y % patch)) * patch + (x % patch);
        visit(i, row, Math.floor(y / patch) * (width / patch) + Math.floor(x / patch));
      }
}

// For each (ky, kx) of a convolution, and each pixel that it makes: which pixel it reads, or -1 outside the map.
function sourcesOf({ kernel, stride, padding, repeat }, [, high, wide], [, height, width]) {
  const source = (o, k, side) => {
    const at = o * stride + k - padding;
    return at < 0 || at >= side * repeat ? -1 : Math.floor(at / repeat);
  };
  const tables = [];
  for (let ky = 0; ky < kernel; ky++)
    for (let kx = 0; kx < kernel; kx++)
      tables.push(Int32Array.from({ length: high * wide }, (_, i) => {
        const y = source(Math.floor(i / wide), ky, height), x = source(i % wide, kx, width);
        return y < 0 || x < 0 ? -1 : y * width + x;
      }));
  return tables;
}

// The matrix that a convolution multiplies: one row for each (channel, ky, kx), one column for each pixel it makes.
function gatherPatches({ memory, patches }, { sources }, out, x) {
  let to = patches;
  for (let c = 0, from = x.at; c < x.rows; c++, from += x.stride)
    for (const table of sources) {
      for (let n = 0; n < table.length; n++) memory[to + n] = table[n] < 0 ? 0 : memory[from + table[n]];
      to += out.stride;
    }
}

function softmax(values) {
  let most = -Infinity, sum = 0;
  for (let i = 0; i < values.length; i++) most = Math.max(most, values[i]);
  for (let i = 0; i < values.length; i++) sum += values[i] = Math.exp(values[i] - most);
  for (let i = 0; i < values.length; i++) values[i] /= sum;
}

// Abramowitz and Stegun 1964, 7.1.26: to 1.5e-7
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return Math.sign(x) * (1 - poly * Math.exp(-x * x));
}
