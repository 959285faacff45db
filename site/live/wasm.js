// The bytes of a WebAssembly module with one function, multiply: Y = W X + b in vectors of four numbers.
// It is written here instruction by instruction, so that the page needs no compiler and no second file.
//
//   for each block of 8 rows of W:
//     for each 4 columns of X:
//       8 sums start at the rows' biases
//       for each k: sum[i] += W[i, k] · X[k, 4 columns]        (the inner loop: 8 vectors stay in registers)
//       the 8 sums go to Y
export const ROWS = 8, COLUMNS = 4;

export function multiplyModule() {
  const [I32, V128, VOID] = [0x7f, 0x7b, 0x40];
  const number = n => { // LEB128, unsigned
    const bytes = [];
    do { bytes.push((n & 127) | (n > 127 ? 128 : 0)); n >>>= 7; } while (n);
    return bytes;
  };
  const list = parts => [...number(parts.length), ...parts.flat()];
  const sized = bytes => [...number(bytes.length), ...bytes];
  const section = (id, parts) => [id, ...sized(list(parts))];
  const text = word => sized([...word].map(c => c.charCodeAt(0)));

  const [w, x, y, blocks, depth, stride, column, k, panel, from, value] = Array.from({ length: 11 }, (_, i) => i);
  const sum = i => 11 + i; // locals 11 ... 18
  const get = local => [0x20, local], set = local => [0x21, local];
  const constant = n => [0x41, n]; // n below 64: one byte
  const plus = [0x6a], minus = [0x6b], less = [0x49];
  const loop = (...body) => [0x03, VOID, ...body.flat(), 0x0b];
  const again = [0x0d, 0];
  const add = (local, amount) => [...get(local), ...amount, ...plus, ...set(local)];
  const down = local => [...get(local), ...constant(1), ...minus, 0x22, local, ...again]; // until it is 0
  const load = offset => [0xfd, 0x00, 2, ...number(offset)];
  const spread = offset => [0xfd, 0x09, 2, ...number(offset)]; // one number, four times
  const store = [0xfd, 0x0b, 2, 0];
  const times = [0xfd, 0xe6, 0x01], sumUp = [0xfd, 0xe4, 0x01];
  const rows = Array.from({ length: ROWS }, (_, i) => i);

  const body = loop(
    [...constant(0), ...set(column)],
    loop(
      rows.flatMap(i => [...get(w), ...spread(4 * i), ...set(sum(i))]),
      [...get(w), ...constant(32), ...plus, ...set(panel)],
      [...get(x), ...get(column), ...plus, ...set(from)],
      [...get(depth), ...set(k)],
      loop(
        [...get(from), ...load(0), ...set(value)],
        rows.flatMap(i => [...get(sum(i)), ...get(panel), ...spread(4 * i), ...get(value), ...times, ...sumUp, ...set(sum(i))]),
        add(panel, constant(32)),
        add(from, get(stride)),
        down(k)),
      [...get(y), ...get(column), ...plus, ...set(from)],
      rows.flatMap(i => [...get(from), ...get(sum(i)), ...store, ...add(from, get(stride))]),
      [...add(column, constant(16)), ...get(column), ...get(stride), ...less, ...again]),
    [...get(panel), ...set(w)],
    rows.flatMap(() => add(y, get(stride))),
    down(blocks));
  const locals = [[4, I32], [1 + ROWS, V128]]; // column ... from; value and sums
  return new Uint8Array([
    0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    ...section(1, [[0x60, ...list(Array(6).fill([I32])), 0]]),
    ...section(2, [[...text("page"), ...text("memory"), 2, 0, 1]]),
    ...section(3, [[0]]),
    ...section(7, [[...text("multiply"), 0, 0]]),
    ...section(10, [sized([...list(locals), ...body, 0x0b])]),
  ]);
}
