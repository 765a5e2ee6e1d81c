import type { GrowingColumns, Rows } from "./growing-columns.ts";

/** Counters of one pass: 2^18 of them are a mebibyte, which stays in the processor's cache. */
const digitBitsMax = 18;

/**
 * The rows of a table sorted by the first column, equal keys in their old order: radix sort, least digit first, in as few passes
 * as the largest key allows. Never holds more than two copies of the rows.
 */
export function sortStably(table: GrowingColumns): Rows {
  let largest = 0;
  for (const [keys] of table.parts()) {
    for (const key of keys) if (key > largest) largest = key;
  }
  const keyBits = Math.max(1, 32 - Math.clz32(largest));
  const passes = Math.ceil(keyBits / digitBitsMax);
  const digitBits = Math.ceil(keyBits / passes);
  let sorted: Rows | null = null;
  for (let pass = 0; pass < passes; pass += 1) {
    const digit = { shift: pass * digitBits, mask: 2 ** digitBits - 1 };
    sorted = sortByDigit(sorted === null ? () => table.parts() : ofOne(sorted), table.rows, digit);
  }
  return sorted!;
}

function ofOne(rows: Rows): () => Iterable<Rows> {
  return () => [rows];
}

function sortByDigit(
  parts: () => Iterable<Rows>,
  rows: number,
  { shift, mask }: { readonly shift: number; readonly mask: number },
): Rows {
  const starts = new Uint32Array(mask + 2);
  for (const [keys] of parts()) {
    for (let row = 0; row < keys.length; row += 1) {
      const next = ((keys[row]! >>> shift) & mask) + 1;
      starts[next] = starts[next]! + 1;
    }
  }
  for (let at = 1; at <= mask; at += 1) starts[at] = starts[at]! + starts[at - 1]!;
  const [first, second, third] = [0, 1, 2].map(() => new Uint32Array(rows)) as [
    Uint32Array,
    Uint32Array,
    Uint32Array,
  ];
  for (const [keys, seconds, thirds] of parts()) {
    for (let row = 0; row < keys.length; row += 1) {
      const key = keys[row]!;
      const digit = (key >>> shift) & mask;
      const place = starts[digit]!;
      first[place] = key;
      second[place] = seconds[row]!;
      third[place] = thirds[row]!;
      starts[digit] = place + 1;
    }
  }
  return [first, second, third];
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
