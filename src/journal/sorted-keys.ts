import assert from "node:assert/strict";

const digitBits = 11;
const digits = 2 ** digitBits;

/**
 * The rows of a table sorted by `keys`, equal keys in their old order: radix sort, least digit first, only as many digits as
 * the largest key has. Returns the sorted keys followed by the columns in the same order; the input is left as it was.
 */
export function sortStably(keys: Uint32Array, columns: readonly Uint32Array[]): Uint32Array[] {
  const rows = keys.length;
  for (const column of columns) assert.equal(column.length, rows);
  let largest = 0;
  for (const key of keys) if (key > largest) largest = key;
  let order = new Uint32Array(rows).map((_, row) => row);
  let spare = new Uint32Array(rows);
  for (let shift = 0; shift < 32 && (shift === 0 || largest >>> shift > 0); shift += digitBits) {
    sortByDigit(keys, shift, order, spare);
    [order, spare] = [spare, order];
  }
  return [keys, ...columns].map((column) => gathered(column, order));
}

function sortByDigit(keys: Uint32Array, shift: number, from: Uint32Array, into: Uint32Array) {
  const starts = new Uint32Array(digits + 1);
  for (let at = 0; at < from.length; at += 1) {
    const digit = (keys[from[at]!]! >>> shift) & (digits - 1);
    starts[digit + 1] = starts[digit + 1]! + 1;
  }
  for (let digit = 0; digit < digits; digit += 1) {
    starts[digit + 1] = starts[digit + 1]! + starts[digit]!;
  }
  for (let at = 0; at < from.length; at += 1) {
    const digit = (keys[from[at]!]! >>> shift) & (digits - 1);
    const place = starts[digit]!;
    into[place] = from[at]!;
    starts[digit] = place + 1;
  }
}

function gathered(column: Uint32Array, order: Uint32Array): Uint32Array {
  const result = new Uint32Array(order.length);
  for (let at = 0; at < order.length; at += 1) result[at] = column[order[at]!]!;
  return result;
}

/** The first position in the sorted `keys` whose key is at least `key`; `keys.length` when there is none. */
export function firstAtOrAfter(keys: Uint32Array, key: number): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (keys[middle]! < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The first position in the sorted `keys` whose key is greater than `key`. */
export function firstAfter(
  keys: readonly number[] | Float64Array | Uint32Array,
  key: number,
): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (keys[middle]! <= key) low = middle + 1;
    else high = middle;
  }
  return low;
}
