import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { systemClock } from "../src/base/clock.ts";
import { MIB } from "../src/base/units.ts";
import { parseGroupName } from "../src/core/ids.ts";
import type { View } from "../src/core/journal.ts";
import type { Source } from "../src/core/source.ts";
import { beyondFloor } from "../src/qemu/floor-5-2.ts";
import { type Machine, startMachine } from "../src/qemu/machine.ts";
import { imageNode } from "../src/qemu/machine-arguments.ts";
import type { QmpCommand } from "../src/qemu/qmp-messages.ts";
import { guestBootTimeoutMs } from "./guest/database-guest.ts";
import { createImage, ensureGuest } from "./guest/guest-images.ts";
import { judgeOrder, type OrderVerdict, orderDefinition } from "./guest/order-guest.ts";
import { copyImages } from "./guest/production.ts";
import { readVaultIn, replicateInto } from "./guest/replication.ts";
import { slowSocket } from "./guest/slow-socket.ts";

const timeoutMs = 400_000;
const clock = systemClock();
const group = parseGroupName(`order-${process.pid}`)!;
const orderDisks = ["order0", "order1", "order2"];
const orderDiskSizeBytes = 64 * MIB;
/** What the writer can reach on one disk. */
const orderedBytes = 32 * MIB;
/** Between the disks of a point: long enough for the guest to write to every disk many times. */
const readDelayMs = 300;
/** How late one of two machines hears its commands: long enough for writes on both. */
const qmpDelayMs = 150;
let directory = "";
let signal = AbortSignal.abort();
let stack = new AsyncDisposableStack();

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "aft-group-"));
  signal = AbortSignal.timeout(timeoutMs);
  stack = new AsyncDisposableStack();
});
afterEach(async () => {
  await stack.disposeAsync();
  await rm(directory, { recursive: true, force: true });
});

/** A machine that is ready to write to `disks`. */
async function startOrderMachine(name: string, disks: readonly string[]): Promise<Machine> {
  const own = join(directory, name);
  await mkdir(own);
  const { root } = await copyImages(await ensureGuest({ signal }), own);
  const nodes = new Map([["root", imageNode(root, "qcow2")]]);
  for (const disk of disks) {
    const path = join(own, `${disk}.qcow2`);
    await createImage(path, orderDiskSizeBytes, signal);
    nodes.set(disk, imageNode(path, "qcow2"));
  }
  const machine = stack.use(
    await startMachine({
      name,
      definition: orderDefinition(disks.length),
      nodes,
      directory: own,
      accelerator: "tcg",
      clock,
      signal,
    }),
  );
  const wait = { timeoutMs: guestBootTimeoutMs, signal };
  await machine.console.waitForLine(/"event":"ready"/, wait);
  return machine;
}

/** A filter under which each disk of a point is read only some time after the disk before it. */
function delayed(source: Source): Source {
  return {
    traits: source.traits,
    repair: (options) => source.repair(options),
    track: (disks, id, options) => source.track(disks, id, options),
    openLive: (disk, options) => source.openLive(disk, options),
    async freeze(options) {
      const snapshot = await source.freeze(options);
      const turns = new Map(
        snapshot.disks.map(({ name }, index) => [
          name,
          clock.sleep(index * readDelayMs, { signal }),
        ]),
      );
      return {
        id: snapshot.id,
        instant: snapshot.instant,
        consistency: snapshot.consistency,
        disks: snapshot.disks,
        machines: snapshot.machines,
        lost: snapshot.lost,
        extents: (disk) => snapshot.extents(disk),
        async read(disk, offsetBytes, into) {
          await turns.get(disk);
          await snapshot.read(disk, offsetBytes, into);
        },
        release: () => snapshot.release(),
        forget: (options) => snapshot.forget(options),
        [Symbol.asyncDispose]: () => snapshot[Symbol.asyncDispose](),
      };
    },
    dirtyBytes: (options) => source.dirtyBytes(options),
    guestWrites: (options) => source.guestWrites(options),
    pause: (options) => source.pause(options),
    [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
  };
}

/** The beginnings of `names` (ends of the disks' names), each from the view given for it. */
async function judge(names: readonly string[], views: readonly View[]): Promise<OrderVerdict> {
  const contents = names.map(async (name, index) => {
    const view = views[index]!;
    const disk = view.disks.find((candidate) => candidate.name.endsWith(name))!;
    const content = new Uint8Array(orderedBytes);
    await view.read(disk.identity, 0, content);
    return content;
  });
  return judgeOrder(await Promise.all(contents));
}

/** All points of the vault, open, and what each says about the order of writes. */
async function judgeAll(
  names: readonly string[],
): Promise<{ readonly views: readonly View[]; readonly verdicts: readonly OrderVerdict[] }> {
  const vault = stack.use(await readVaultIn(directory));
  const reader = await vault.reader(group);
  const views: View[] = [];
  for (const { id } of reader.points()) views.push(stack.use(await reader.open(id)));
  const verdicts: OrderVerdict[] = [];
  for (const view of views)
    verdicts.push(
      await judge(
        names,
        names.map(() => view),
      ),
    );
  return { views, verdicts };
}

test(
  "every point of three disks is a prefix of strictly dependent writes, and torn points are not",
  async () => {
    const machine = await startOrderMachine("orderly", orderDisks);
    machine.console.type(`order ${orderDisks.length} 20000`);
    const wait = { timeoutMs: guestBootTimeoutMs, signal };
    await machine.console.waitForLine(/"event":"ordered","newest":50\}/, wait);
    const sent: QmpCommand[] = [];
    await replicateInto({
      directory,
      group,
      machines: [{ machine, disks: orderDisks }],
      points: 6,
      intervalSeconds: 0.2,
      signal,
      filter: delayed,
      onCommand: (command) => sent.push(command),
    });
    const { views, verdicts } = await judgeAll(orderDisks);
    expect(verdicts.map(({ trouble }) => trouble)).toEqual(Array(6).fill(null));
    const newest = verdicts.map((verdict) => verdict.newest);
    expect(newest[0]).toBeGreaterThanOrEqual(50);
    expect(newest).toEqual([...new Set(newest)].sort((a, b) => a - b));

    // The control: a group whose disks come from different points must be seen.
    const [first, last] = [views[0]!, views.at(-1)!];
    for (const torn of [
      [last, first, first],
      [first, last, first],
      [first, first, last],
    ]) {
      expect((await judge(orderDisks, torn)).trouble).not.toBeNull();
    }

    // What a whole life of a group sent to a real QEMU stays within the floor.
    expect(sent.length).toBeGreaterThan(0);
    expect(sent.map(beyondFloor).filter((reason) => reason !== null)).toEqual([]);
  },
  timeoutMs,
);

/**
 * Dependent writes over two machines: number i is written by machine i mod 2, told to by us, and only after the other has
 * said that number i-1 is on its disk. Ends with the signal.
 */
async function writeInTurns(machines: readonly Machine[], until: AbortSignal): Promise<void> {
  for (let number = 1; !until.aborted; number += 1) {
    const { console } = machines[number % machines.length]!;
    const seek = Math.floor(number / machines.length);
    const dd = `dd if=/tmp/n of=/run/disks/order0 bs=4096 count=1 seek=${seek} oflag=direct conv=notrunc`;
    console.type(
      `run printf %04096d ${number} >/tmp/n && ${dd} 2>/dev/null && echo DONE ${number}`,
    );
    const wait = { timeoutMs: guestBootTimeoutMs, signal };
    await console.waitForLine(new RegExp(`^DONE ${number}$`), wait);
  }
}

test(
  "every point of two machines is a prefix of writes that depend on each other across the machines",
  async () => {
    const machines = [
      await startOrderMachine("one", ["order0"]),
      await startOrderMachine("two", ["order0"]),
    ];
    // The second machine hears everything late: without the barrier its instant would lie after the first one's.
    const slow = join(directory, "slow.qmp");
    const target = machines[1]!.qmpPath;
    stack.use(await slowSocket({ path: slow, target, delayMs: qmpDelayMs, clock }));
    const enough = new AbortController();
    const writing = writeInTurns(machines, enough.signal);
    await replicateInto({
      directory,
      group,
      machines: [
        { machine: machines[0]!, disks: ["order0"] },
        { machine: machines[1]!, disks: ["order0"], qmpPath: slow },
      ],
      points: 8,
      // Room for the delays, and for a busy host.
      barrierMs: 20_000,
      intervalSeconds: 0.2,
      signal,
      filter: delayed,
    });
    enough.abort();
    await writing;
    const names = ["one/order0", "two/order0"];
    const { views, verdicts } = await judgeAll(names);
    expect(verdicts.map(({ trouble }) => trouble)).toEqual(Array(8).fill(null));
    for (const { point } of views) {
      expect(point.consistency).toMatchObject({ isGroupConsistent: true });
      expect(point.consistency.skewMs).toEqual(expect.any(Number));
    }
    const [first, last] = [views[0]!, views.at(-1)!];
    expect((await judge(names, [first, last])).trouble).not.toBeNull();
    expect((await judge(names, [last, first])).trouble).not.toBeNull();
  },
  timeoutMs,
);
