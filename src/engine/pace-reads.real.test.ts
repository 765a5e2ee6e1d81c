import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { systemClock } from "../base/clock.ts";
import { KIB, MIB } from "../base/units.ts";
import {
  diskName,
  testSignal as signal,
  type TestHost,
  testHost,
} from "../source/qemu/test-guest.ts";
import { startTestMachine, type TestMachine } from "../source/qemu/test-machine.ts";
import {
  type PacedReads,
  pacedReads,
  type ReadsOutlook,
  readFloorBytesPerSecond,
} from "./pace-reads.ts";

const storageBytesPerSecond = 24 * MIB;
const disks = [{ name: "data", sizeBytes: 256 * MIB, storageBytesPerSecond }];
const data = diskName("db/data");
const readBytes = 128 * MIB;
const readsInFlight = 8;

/** A guest that writes 4 KiB every ten milliseconds. */
function writer(machine: TestMachine) {
  let isOver = false;
  const writing = (async () => {
    for (let turn = 0; !isOver; turn += 1) {
      await machine.io("data", `aio_write -q -P 7 ${(turn % 64) * 4}k 4k`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  })();
  return {
    async [Symbol.asyncDispose]() {
      isOver = true;
      await writing;
    },
  };
}

/** Reads the disk as fast as it is let until `isEnough`. */
async function read(host: TestHost, pace: PacedReads, isEnough: () => boolean): Promise<void> {
  await using source = host.source({ db: disks });
  await using live = await source.openLive(data, { signal });
  let at = 0;
  const one = async () => {
    const into = new Uint8Array(256 * KIB);
    while (!isEnough()) {
      const offsetBytes = at;
      at = (at + into.length) % readBytes;
      await pace.admit(into.length, signal);
      await live.read(offsetBytes, into);
    }
  };
  await Promise.all(Array.from({ length: readsInFlight }, one));
}

test("a guest whose storage we fill gets its writes through again: reading is held back", async () => {
  await using host = await testHost();
  await host.createImages("db", disks);
  // Before QEMU has it: storage that is so slow would take a while.
  const image = host.imagePath("db", "data");
  execFileSync("qemu-io", ["-f", "qcow2", "-c", `write -q -P 3 0 ${readBytes}`, image]);
  await using machine = await startTestMachine(host, "db", disks);
  await using _writing = writer(machine);
  const told: ReadsOutlook[] = [];
  const rateAt = (index: number) => told[index]?.heldToBytesPerSecond ?? Number.POSITIVE_INFINITY;
  await using asked = second(host, machine);
  const pace = pacedReads({
    ...{ clock: systemClock(), bytesPerSecondMax: null, operationsPerSecondMax: null },
    ...{ source: asked, guestWriteLatencyMaxMs: null },
    onChange: (outlook) => told.push(outlook),
  });
  // Held back, the guest's writes get better, and reading comes back by steps.
  await read(host, pace, () =>
    told.some((_, index) => index > 0 && rateAt(index) > rateAt(index - 1)),
  );
  const [first] = told;
  expect(first?.latencyMs).toBeGreaterThan(3 * (first?.baselineMs ?? Number.POSITIVE_INFINITY));
  expect(rateAt(0)).toBeLessThan(storageBytesPerSecond);
  expect(rateAt(0)).toBeGreaterThanOrEqual(readFloorBytesPerSecond);
  const slowest = Math.max(...told.map(({ latencyMs }) => latencyMs ?? 0));
  expect(told.at(-1)?.latencyMs).toBeLessThan(slowest);
});

/** Asks the machine through a socket of its own: the reader has the first. */
function second(host: TestHost, machine: TestMachine) {
  const disk = { name: "data", node: "data", tracking: "persistent" as const };
  const settings = { name: "db" as never, qmpPath: machine.secondQmpPath, disks: [disk] };
  return host.source({}, { machines: [settings] });
}
