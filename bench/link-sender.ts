import assert from "node:assert/strict";
import { systemClock } from "../src/base/clock.ts";
import { systemPrng } from "../src/base/prng.ts";
import { type DiskName, drawDiskIdentity, drawPointId } from "../src/core/ids.ts";
import { windowSizeBytes } from "../src/core/limits.ts";
import type { PointDisk, PointHeader } from "../src/core/point.ts";
import { openNbdPool } from "../src/nbd/pool.ts";
import { dialTls } from "../src/tls/dial.ts";
import type { Link, LinkIntake } from "../src/transport/link.ts";
import { openLink } from "../src/transport/open-link.ts";
import { readIdentities } from "./link-identities.ts";
import { ownRssBytesMax } from "./process.ts";
import { benchGroup } from "./view-vault.ts";

// The protected site of `ship` and `wan`: reads an export from end to end and ships it as one delta. Timed from connecting to
// both sides to the vault's answer to the seal; the group's first point is made before. Prints one line of JSON.

const [socketPath, exportName, port, identitiesDirectory] = process.argv.slice(2);
assert(socketPath !== undefined && exportName !== undefined);
assert(port !== undefined && identitiesDirectory !== undefined);

/** As many windows as the engine reads at a time. */
const windowsInFlight = 16;
const identities = await readIdentities(identitiesDirectory);
const disk = { name: "vm/disk" as DiskName, identity: drawDiskIdentity(systemPrng()) };

function open(): Link {
  return openLink({
    dial: dialTls({
      address: { host: "127.0.0.1", port: Number(port) },
      identity: () => identities.replicator,
      trust: identities.trust,
    }),
    clock: systemClock(),
    prng: systemPrng(),
    usesThreads: true,
  });
}

async function intakeOf(link: Link): Promise<LinkIntake> {
  await link.whenUp({ signal: AbortSignal.timeout(30_000) });
  const intake = link.intake(benchGroup);
  await intake.ask();
  return intake;
}

async function makeFirstPoint(sizeBytes: number): Promise<void> {
  await using link = open();
  const intake = await intakeOf(link);
  const { name, identity } = disk;
  const header = headerFor(intake, { name, identity, sizeBytes, previousSizeBytes: null });
  const request = { kind: "base", disk: name, identity, sizeBytes, syncId: header.id } as const;
  await using staged = await intake.stage(request);
  await staged.checkpoint(sizeBytes);
  await using writer = await intake.begin(header);
  await writer.adopt(staged);
  await writer.seal({ dirtyBytes: 0, readBytes: 0 });
}

function headerFor(intake: LinkIntake, pointDisk: PointDisk): PointHeader {
  const head = intake.head();
  return {
    id: drawPointId(systemPrng()),
    group: benchGroup,
    generation: { number: 1, holder: identities.replicatorId },
    sequence: (head?.sequence ?? 0) + 1,
    fromSequence: head?.sequence ?? 0,
    fromPoint: head?.id ?? null,
    instant: { lowerMs: Date.now(), upperMs: Date.now(), clockErrorMs: null },
    consistency: {
      asked: "crash",
      reached: "crash",
      reason: "",
      isGroupConsistent: true,
      skewMs: 0,
    },
    disks: [pointDisk],
    machines: [],
    notes: [],
  };
}

async function ship(): Promise<Record<string, number | null>> {
  await using link = open();
  await using pool = await openNbdPool({ address: { path: socketPath! }, exportName: exportName! });
  const { sizeBytes } = pool;
  const intake = await intakeOf(link);
  const header = headerFor(intake, { ...disk, sizeBytes, previousSizeBytes: sizeBytes });
  await using writer = await intake.begin(header);
  let nextBytes = 0;
  const lane = async (): Promise<void> => {
    const buffer = Buffer.allocUnsafeSlow(windowSizeBytes);
    while (nextBytes < sizeBytes) {
      const offsetBytes = nextBytes;
      const data = buffer.subarray(0, Math.min(windowSizeBytes, sizeBytes - offsetBytes));
      nextBytes += data.length;
      await pool.read(offsetBytes, data);
      await writer.write(disk.identity, offsetBytes, data);
    }
  };
  await Promise.all(Array.from({ length: windowsInFlight }, lane));
  const sealingAtMs = performance.now();
  const point = await writer.seal({ dirtyBytes: sizeBytes, readBytes: sizeBytes });
  const sealMs = performance.now() - sealingAtMs;
  assert.equal(point.cost.dataBytes, sizeBytes);
  const { roundTripMs, sentBytes, resentBytes } = link.health();
  return { sizeBytes, sealMs, roundTripMs, sentBytes, resentBytes };
}

{
  await using pool = await openNbdPool({ address: { path: socketPath }, exportName });
  await makeFirstPoint(pool.sizeBytes);
}
const before = process.cpuUsage();
const startedAtMs = performance.now();
const shipped = await ship();
const durationMs = performance.now() - startedAtMs;
const cpu = process.cpuUsage(before);
const rssBytes = await ownRssBytesMax();
process.stdout.write(
  `${JSON.stringify({ ...shipped, durationMs, rssBytes, cpuMs: (cpu.user + cpu.system) / 1000 })}\n`,
);
process.exit(0);
