import assert from "node:assert/strict";
import { test } from "vitest";
import { KIB } from "../base/units.ts";
import { BufferPool } from "./buffer-pool.ts";

test("a buffer given back is taken again, cut to what is asked", () => {
  const pool = new BufferPool(1024 * KIB);
  const first = pool.take(100 * KIB);
  assert.equal(first.length, 100 * KIB);
  pool.give(first);
  const second = pool.take(70 * KIB);
  assert.equal(second.length, 70 * KIB);
  assert.equal(second.buffer, first.buffer);
  assert.notEqual(pool.take(70 * KIB).buffer, first.buffer);
});

test("no more is held than the bound, and small buffers not at all", () => {
  const pool = new BufferPool(128 * KIB);
  const buffers = [pool.take(64 * KIB), pool.take(64 * KIB), pool.take(64 * KIB)];
  for (const buffer of buffers) pool.give(buffer);
  const held = new Set(buffers.map((buffer) => buffer.buffer));
  const again = [pool.take(64 * KIB), pool.take(64 * KIB), pool.take(64 * KIB)];
  assert.equal(again.filter((buffer) => held.has(buffer.buffer)).length, 2);
  const small = pool.take(KIB);
  pool.give(small);
  assert.equal(small.length, KIB);
});
