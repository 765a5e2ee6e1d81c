import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { dataDisk, guestActs, walDisk, wrongPoints } from "../../../test/support/engine-world.ts";
import {
  cutOnce,
  groupDirectory,
  inVirtualTime,
  type LinkCall,
  type SpoolWorld,
  shipAll,
  spoolWorld,
} from "../../../test/support/spool-world.ts";
import { Fault, isFault } from "../../base/fault.ts";
import { machineOf } from "../../core/ids.ts";
import { sectorSizeBytes } from "../../core/limits.ts";
import { faultOf } from "../fault-of.ts";
import { cyclePhases, syncPhases } from "../phase.ts";

const calls: readonly LinkCall[] = [
  "ask",
  "begin",
  "write",
  "zero",
  "writeStored",
  "adopt",
  "seal",
];
const phases = [...syncPhases, ...cyclePhases];

/** What happens before one attempt to cut a point. */
const event = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant("write"), n: fc.integer({ min: 1, max: 6 }) }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom("link-up", "link-down") }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom("ship", "ship", "kill-replicator") }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("resize"), n: fc.integer({ min: 1, max: 6000 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constantFrom("damage", "remove", "lose-state", "cut-short"),
      n: fc.integer({ min: 0, max: 5 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constantFrom("kill-guest", "lose-bitmap", "copy-image", "restore-image"),
    }),
  },
);

const attempt = fc.record({
  events: fc.array(event, { maxLength: 4 }),
  failAt: fc.option(fc.constantFrom(...phases), { freq: 1, nil: null }),
  diesAt: fc.option(fc.constantFrom(...phases), { freq: 1, nil: null }),
  killFilesAfter: fc.option(fc.integer({ min: 0, max: 12 }), { freq: 1, nil: null }),
  linkFails: fc.option(
    fc.record({
      call: fc.constantFrom(...calls),
      skipped: fc.integer({ min: 0, max: 2 }),
      fate: fc.constantFrom("lost" as const, "lost-answer" as const),
      staysDown: fc.boolean(),
    }),
    { freq: 3, nil: null },
  ),
  guestWritesAtPhases: fc.boolean(),
});

type Event = { readonly kind: string; readonly n?: number };
type Attempt = typeof attempt extends fc.Arbitrary<infer Value> ? Value : never;
type Images = Map<string, ReturnType<SpoolWorld["estate"]["copyImage"]>>;

describe("no change is lost, whatever happens to link, spool, replicator and guest", () => {
  test("every point that the vault holds is what the source held at its instant", {
    timeout: 100_000,
  }, async () => {
    const property = fc.asyncProperty(
      fc.integer({ min: 0, max: 2 ** 31 }),
      fc.array(attempt, { minLength: 3, maxLength: 20 }),
      async (seed, attempts) => {
        const world = await spoolWorld(seed);
        guestActs(world, 6);
        const copies: Images = new Map();
        for (const next of attempts) {
          for (const happening of next.events) await happen(world, happening, copies);
          await tryToCut(world, next);
        }
        world.link.isUp = true;
        await world.restartReplicator();
        await shipAll(world);
        await cutUntilItWorks(world);
        await shipAll(world);
        expect(world.intake.status().points).toBe(0);
        expect(world.journal.head()?.id).toBe(world.intake.head()?.id);
        expect(await wrongPoints(world)).toEqual([]);
      },
    );
    await fc.assert(property, { numRuns: 25, timeout: 20_000 });
  });
});

/** A resync waits for what is before it. */
async function cutUntilItWorks(world: SpoolWorld): Promise<void> {
  for (let round = 0; ; round += 1) {
    try {
      await inVirtualTime(world, cutOnce(world));
      return;
    } catch (error) {
      if (!isFault(faultOf(error)) || round === 3) throw error;
      await shipAll(world);
    }
  }
}

async function tryToCut(world: SpoolWorld, next: Attempt): Promise<void> {
  const { link, kills } = world;
  let skipped = next.linkFails?.skipped ?? 0;
  link.fate = (call) => {
    if (call !== next.linkFails?.call || skipped-- > 0) return "fine";
    if (next.linkFails.staysDown) link.isUp = false;
    link.fate = () => "fine";
    return next.linkFails.fate;
  };
  const onPhase = (phase: string) => {
    if (next.guestWritesAtPhases) guestActs(world);
    if (phase === next.diesAt) kills.killAt = kills.changes;
    if (phase === next.failAt) throw new Fault("STORAGE_FULL", "injected");
  };
  if (next.killFilesAfter !== null) kills.killAt = kills.changes + next.killFilesAfter;
  try {
    await inVirtualTime(world, cutOnce(world, { onPhase }));
  } catch (error) {
    if (!isFault(faultOf(error))) throw error;
  }
  link.fate = () => "fine";
  if (kills.killAt !== null && kills.changes >= kills.killAt) await world.restartReplicator();
  kills.killAt = null;
}

/** How many instants there were when the disk was resized last. */
const resizedAt = new WeakMap<SpoolWorld, number>();

async function happen(world: SpoolWorld, { kind, n = 0 }: Event, copies: Images): Promise<void> {
  const { estate, link, files } = world;
  const machine = machineOf(dataDisk);
  const whileStopped = (act: () => void) => {
    estate.stopMachine(machine);
    act();
    estate.startMachine(machine);
  };
  const spooled = async () => {
    const names = await files.list(groupDirectory);
    const deltas = names.filter((name) => name.endsWith(".delta"));
    return deltas.length === 0 ? null : `${groupDirectory}/${deltas[n % deltas.length]}`;
  };
  const acts: Record<string, () => void | Promise<void>> = {
    write: () => guestActs(world, n),
    "link-up": () => {
      link.isUp = true;
    },
    "link-down": () => {
      link.isUp = false;
    },
    ship: () => shipAll(world, 40),
    "kill-replicator": () => world.restartReplicator(),
    resize: () => {
      // Shrunk and grown again between two points: QEMU's bitmap forgets what was cut off, and nobody tells us.
      if (resizedAt.get(world) === world.instants.size) return;
      resizedAt.set(world, world.instants.size);
      estate.resize(dataDisk, n * sectorSizeBytes);
    },
    damage: async () => {
      const path = await spooled();
      if (path === null) return;
      await using file = await files.open(path, "write");
      const at = Math.floor(((await file.sizeBytes()) * (n + 1)) / 8);
      await file.write(new Uint8Array(40).fill(0xee), at);
    },
    remove: async () => {
      const path = await spooled();
      if (path !== null) await files.remove(path);
    },
    "cut-short": async () => {
      const path = await spooled();
      if (path === null) return;
      await using file = await files.open(path, "write");
      await file.truncate(Math.floor((await file.sizeBytes()) / 2));
    },
    "lose-state": async () => {
      // With the sizes that disks had meanwhile; see resize.
      if (resizedAt.has(world)) return;
      await files.remove(`${groupDirectory}/state`);
      await world.restartReplicator();
    },
    "kill-guest": () => {
      estate.killMachine(machine);
      estate.startMachine(machine);
    },
    "lose-bitmap": () => estate.disk(walDisk).bitmaps.clear(),
    "copy-image": () => whileStopped(() => copies.set(dataDisk, estate.copyImage(dataDisk))),
    "restore-image": () => {
      const copy = copies.get(dataDisk);
      if (copy !== undefined) whileStopped(() => estate.putImage(dataDisk, copy));
    },
  };
  await acts[kind]?.();
}
