import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { checkRecovered } from "../demo/checks.ts";
import { systemClock } from "../src/base/clock.ts";
import { isFault } from "../src/base/fault.ts";
import { MIB } from "../src/base/units.ts";
import { type GroupName, parseGroupName } from "../src/core/ids.ts";
import type { View } from "../src/core/journal.ts";
import type { Source } from "../src/core/source.ts";
import { fixedExports } from "../src/nbd/export.ts";
import { serveNbd } from "../src/nbd/server.ts";
import { qemuPlatform } from "../src/platform/qemu/platform.ts";
import { beyondFloor } from "../src/qemu/floor-5-2.ts";
import { type Machine, startMachine } from "../src/qemu/machine.ts";
import { imageNode } from "../src/qemu/machine-arguments.ts";
import type { QmpCommand } from "../src/qemu/qmp-messages.ts";
import { viewExport } from "../src/recovery/view-export.ts";
import {
  type DatabaseState,
  guestAnswerPattern,
  guestBootTimeoutMs,
  parseDatabaseLine,
  startWriter,
  waitForDatabase,
} from "./guest/database-guest.ts";
import { createImage, ensureGuest } from "./guest/guest-images.ts";
import { judgeOrder, type OrderVerdict, orderDefinition } from "./guest/order-guest.ts";
import { copyImages, startProduction } from "./guest/production.ts";
import { readVaultIn, replicateInto } from "./guest/replication.ts";

const timeoutMs = 400_000;
const clock = systemClock();
const group = parseGroupName(`order-${process.pid}`)!;
const orderDisks = ["order0", "order1", "order2"];
const orderDiskSizeBytes = 64 * MIB;
/** What the writer can reach on one disk. */
const orderedBytes = 32 * MIB;
/** Between the disks of a point: long enough for the guest to write to every disk many times. */
const readDelayMs = 300;
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

/** A machine named `name` with `disks`, one of which is written strictly after the other from `order` on. */
async function startOrderMachine(): Promise<Machine> {
  const { root } = await copyImages(await ensureGuest({ signal }), directory);
  const nodes = new Map([["root", imageNode(root, "qcow2")]]);
  for (const disk of orderDisks) {
    const path = join(directory, `${disk}.qcow2`);
    await createImage(path, orderDiskSizeBytes, signal);
    nodes.set(disk, imageNode(path, "qcow2"));
  }
  const machine = stack.use(
    await startMachine({
      name: "orderly",
      definition: orderDefinition(orderDisks.length),
      nodes,
      directory,
      accelerator: "tcg",
      clock,
      signal,
    }),
  );
  const wait = { timeoutMs: guestBootTimeoutMs, signal };
  await machine.console.waitForLine(/"event":"ready"/, wait);
  machine.console.type(`order ${orderDisks.length} 20000`);
  await machine.console.waitForLine(/"event":"ordered","newest":50\}/, wait);
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
        forget: () => snapshot.forget(),
        [Symbol.asyncDispose]: () => snapshot[Symbol.asyncDispose](),
      };
    },
    [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
  };
}

/** Disk by disk, each from the view given for it. */
async function judge(views: readonly View[]): Promise<OrderVerdict> {
  const contents = orderDisks.map(async (_name, index) => {
    const view = views[index]!;
    const disk = view.disks.find(({ name }) => name.endsWith(orderDisks[index]!))!;
    const content = new Uint8Array(orderedBytes);
    await view.read(disk.identity, 0, content);
    return content;
  });
  return judgeOrder(await Promise.all(contents));
}

test(
  "every point of three disks is a prefix of strictly dependent writes, and torn points are not",
  async () => {
    const machine = await startOrderMachine();
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
    await using vault = await readVaultIn(directory);
    const reader = await vault.reader(group);
    const views: View[] = [];
    for (const { id } of reader.points()) views.push(stack.use(await reader.open(id)));
    const verdicts: OrderVerdict[] = [];
    for (const view of views) verdicts.push(await judge([view, view, view]));
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
      expect((await judge(torn)).trouble).not.toBeNull();
    }

    // What a whole life of a group sent to a real QEMU stays within the floor.
    expect(sent.length).toBeGreaterThan(0);
    expect(sent.map(beyondFloor).filter((reason) => reason !== null)).toEqual([]);
  },
  timeoutMs,
);

/** Boots the database machine with each disk from the view given for it; null when its database does not answer. */
async function bootFrom(
  views: Readonly<Record<"root" | "data" | "wal", View>>,
): Promise<DatabaseState | null> {
  await using opened = new AsyncDisposableStack();
  const own = await mkdtemp(join(directory, "torn-"));
  const disks = Object.entries(views).map(([name, view]) => {
    const disk = view.disks.find((candidate) => candidate.name.endsWith(`/${name}`))!;
    return { name, sizeBytes: disk.sizeBytes, served: viewExport(view, disk) };
  });
  const exports = new Map(disks.map(({ name, served }) => [name, served]));
  const listen = { path: join(own, "nbd") };
  const server = opened.use(await serveNbd({ listen, exports: fixedExports(exports) }));
  const platform = qemuPlatform({ clock, accelerator: "tcg", scratchDirectory: own });
  const machine = opened.use(
    await platform.start({
      group,
      machine: views.root.point.machines[0]!,
      disks: disks.map(({ name, sizeBytes }) => ({ name, sizeBytes, uri: server.uri(name) })),
      signal,
    }),
  );
  const wait = { pattern: guestAnswerPattern, timeoutMs: guestBootTimeoutMs, signal };
  const { line } = await machine.waitUntilReady(wait);
  try {
    return parseDatabaseLine(line.text, machine.console());
  } catch (error) {
    if (isFault(error, "GUEST_FAILED")) return null;
    throw error;
  }
}

test(
  "a database whose data and log come from different points fails the check that whole points pass",
  async () => {
    const images = await copyImages(await ensureGuest({ signal }), directory);
    const production = stack.use(await startProduction({ name: "db", images, directory, signal }));
    await waitForDatabase(production.console, signal);
    const writer = stack.use(startWriter(production.console));
    const wait = { timeoutMs: guestBootTimeoutMs, signal };
    await production.console.waitForLine(/^COMMITTED 60$/, wait);
    await replicateInto({
      directory,
      group: group as GroupName,
      machines: [{ machine: production, disks: ["root", "data", "wal"] }],
      points: 6,
      intervalSeconds: 2,
      signal,
    });
    await production.kill();
    await using vault = await readVaultIn(directory);
    const reader = await vault.reader(group);
    const points = reader.points();
    const older = stack.use(await reader.open(points[0]!.id));
    const newer = stack.use(await reader.open(points.at(-1)!.id));
    const failures = (state: DatabaseState | null) => {
      if (state === null) return ["the database does not start"];
      const { sequence, instant } = newer.point;
      const recovered = { label: "point", sequence, takenAtMs: instant.lowerMs, state };
      const checks = checkRecovered(recovered, writer.acknowledgements);
      return checks.filter(({ pass }) => !pass).map(({ name }) => name);
    };
    const whole = await bootFrom({ root: newer, data: newer, wal: newer });
    expect(failures(whole)).toEqual([]);
    const oldLog = await bootFrom({ root: newer, data: newer, wal: older });
    expect(failures(oldLog)).not.toEqual([]);
    const oldData = await bootFrom({ root: newer, data: older, wal: newer });
    expect(failures(oldData)).not.toEqual([]);
  },
  timeoutMs,
);
