import { expect, test } from "vitest";
import { seededPrng } from "../../src/base/prng.ts";
import { KIB } from "../../src/base/units.ts";
import { ShadowCopy } from "./shadow-copy.ts";
import { contentOf, type GuestOperation, ShadowWriter } from "./shadow-writer.ts";

const sizesBytes = [256 * KIB, 64 * KIB + 512];

/** A guest that did so many operations, and the content of its disks after each. */
async function history(count: number) {
  const disks = sizesBytes.map((sizeBytes) => Buffer.alloc(sizeBytes));
  const states: Buffer[][] = [];
  let nowMs = 0;
  const done = Promise.withResolvers<void>();
  const remember = () => {
    states.push(disks.map((disk) => Buffer.from(disk)));
    if (states.length === count) done.resolve();
  };
  const clock = {
    nowMs: () => (nowMs += 10),
    monotonicMs: () => nowMs,
    sleep: async () => {
      if (states.length >= count) await done.promise.then(() => writer[Symbol.asyncDispose]());
    },
  };
  const access = disks.map((disk, index) => ({
    name: `disk${index}`,
    sizeBytes: disk.length,
    write: async (offsetBytes: number, data: Uint8Array) => {
      disk.set(data, offsetBytes);
      remember();
    },
    zero: async (offsetBytes: number, lengthBytes: number) => {
      disk.fill(0, offsetBytes, offsetBytes + lengthBytes);
      remember();
    },
  }));
  const writer = new ShadowWriter({ disks: access, clock, prng: seededPrng(7), pauseMs: 0 });
  writer.start();
  await done.promise;
  return { operations: writer.operations.slice(0, count), states };
}

/** Wide enough for any k from `number` on: begun by then, the next not answered before. */
function momentOf({ issuedAtMs, answeredAtMs }: GuestOperation) {
  return { lowerMs: issuedAtMs, upperMs: answeredAtMs! };
}

test("every state the guest really had is recognised, in order, zeroes included", async () => {
  const { operations, states } = await history(200);
  const copy = new ShadowCopy(operations, sizesBytes);
  for (const [index, state] of states.entries()) {
    expect(copy.trouble(state, momentOf(operations[index]!))).toBeNull();
  }
  expect(operations.filter(({ kind }) => kind === "zero").length).toBeGreaterThan(3);
});

test("a lost operation in the middle is found", async () => {
  const { operations, states } = await history(60);
  const lost = operations.findLast(({ kind, number }) => kind === "write" && number < 60)!;
  const shown = states.at(-1)!.map((disk) => Buffer.from(disk));
  shown[lost.disk]!.fill(0, lost.offsetBytes, lost.offsetBytes + 512);
  // What came over it later would hide the loss, rightly.
  const later = operations.slice(lost.number);
  const covered = later.some(
    ({ disk, offsetBytes, lengthBytes }) =>
      disk === lost.disk &&
      offsetBytes <= lost.offsetBytes &&
      offsetBytes + lengthBytes > lost.offsetBytes,
  );
  expect(covered).toBe(false);
  expect(new ShadowCopy(operations, sizesBytes).trouble(shown, null)).toMatch(/differs at/);
});

test("disks from different instants are found", async () => {
  const { operations, states } = await history(80);
  const torn = [states[79]![0]!, states[60]![1]!];
  expect(new ShadowCopy(operations, sizesBytes).trouble(torn, null)).toMatch(/disk 1 differs/);
});

test("a point that shows what came after it, or lacks what came before, is found", async () => {
  const { operations, states } = await history(50);
  const early = { lowerMs: 0, upperMs: operations[40]!.issuedAtMs - 100 };
  const fresh = () => new ShadowCopy(operations, sizesBytes);
  expect(fresh().trouble(states[44]!, early)).toMatch(/begun .* after it/);
  const late = { lowerMs: operations[49]!.answeredAtMs! + 10, upperMs: Number.MAX_SAFE_INTEGER };
  expect(fresh().trouble(states[30]!, late)).toMatch(/lacks operation/);
});

test("a point that goes back in time, and one whose byte flipped, are found", async () => {
  const { operations, states } = await history(50);
  const copy = new ShadowCopy(operations, sizesBytes);
  expect(copy.trouble(states[40]!, null)).toBeNull();
  expect(copy.trouble(states[20]!, null)).toMatch(/the point before it/);
  const flipped = states[45]!.map((disk) => Buffer.from(disk));
  const write = operations[44]!;
  const at = operations.slice(0, 45).findLast(({ kind }) => kind === "write") ?? write;
  flipped[at.disk]![at.offsetBytes + 100]! ^= 1;
  expect(new ShadowCopy(operations, sizesBytes).trouble(flipped, null)).toMatch(/differs/);
  expect(contentOf(at).length).toBe(at.lengthBytes);
});
