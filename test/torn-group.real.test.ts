import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { checkRecovered } from "../demo/checks.ts";
import { systemClock } from "../src/base/clock.ts";
import { isFault } from "../src/base/fault.ts";
import { parseGroupName } from "../src/core/ids.ts";
import type { View } from "../src/core/journal.ts";
import { fixedExports } from "../src/nbd/export.ts";
import { serveNbd } from "../src/nbd/server.ts";
import { qemuPlatform } from "../src/platform/qemu/platform.ts";
import { viewExport } from "../src/recovery/view-export.ts";
import {
  type DatabaseState,
  guestAnswerPattern,
  guestBootTimeoutMs,
  parseDatabaseLine,
  startWriter,
  waitForDatabase,
} from "./guest/database-guest.ts";
import { ensureGuest } from "./guest/guest-images.ts";
import { copyImages, startProduction } from "./guest/production.ts";
import { readVaultIn, replicateInto } from "./guest/replication.ts";

const timeoutMs = 400_000;
const clock = systemClock();
const group = parseGroupName(`torn-${process.pid}`)!;
let directory = "";
let signal = AbortSignal.abort();
let stack = new AsyncDisposableStack();

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "aft-torn-"));
  signal = AbortSignal.timeout(timeoutMs);
  stack = new AsyncDisposableStack();
});
afterEach(async () => {
  await stack.disposeAsync();
  await rm(directory, { recursive: true, force: true });
});

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
      group,
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
