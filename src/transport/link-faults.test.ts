import { expect, test } from "vitest";
import { virtualClock } from "../../sim/clock.ts";
import type { GroupName } from "../core/ids.ts";
import { fakeDisk, fakeHeader, fakeIntake } from "./fake-intake-for-test.ts";
import type { LinkEvent } from "./link.ts";
import { movingClock } from "./moving-clock-for-test.ts";
import { settle } from "./raw-peer-for-test.ts";
import { testSites } from "./sites-for-test.ts";

const erp = "erp" as GroupName;
const mib = 1024 * 1024;
const soon = () => ({ signal: AbortSignal.timeout(5000) });

test("while the link is down every call rejects at once, and works again when it is up", async () => {
  using clock = movingClock(virtualClock());
  const intake = fakeIntake(erp);
  await using sites = testSites({ clock, openGroup: async () => intake });
  const remote = sites.link.intake(erp);
  await expect(remote.ask()).rejects.toMatchObject({ code: "LINK_LOST" });
  await sites.link.whenUp(soon());
  await remote.ask();
  sites.setReachable(false);
  const went = Promise.withResolvers<boolean>();
  sites.link.onChange((health) => went.resolve(health.isUp));
  const writer = await remote.begin(fakeHeader(erp));
  for (const pair of sites.channels) pair.sender.cut();
  const write = writer.write(fakeDisk.identity, 0, new Uint8Array(mib));
  await expect(write).rejects.toMatchObject({ code: "LINK_LOST" });
  expect(await went.promise).toBe(false);
  await expect(remote.ask()).rejects.toMatchObject({ code: "LINK_LOST" });
  expect(sites.link.dialFault()).toMatchObject({ code: "LINK_LOST" });
  sites.setReachable(true);
  await sites.link.whenUp(soon());
  await remote.ask();
  // What was begun before is not gone on with, and a new delta takes its place at the vault.
  await expect(writer.seal({ dirtyBytes: 0, readBytes: 0 })).rejects.toMatchObject({
    code: "LINK_LOST",
  });
  await writer[Symbol.asyncDispose]();
  await using again = await remote.begin(fakeHeader(erp));
  expect(intake).toMatchObject({ begun: 2, givenUp: 1 });
  await again.seal({ dirtyBytes: 0, readBytes: 0 });
});

test("a vault that began anew makes what was under way fail with LINK_RESET", async () => {
  using clock = movingClock(virtualClock());
  const intake = fakeIntake(erp);
  const events: LinkEvent[] = [];
  await using sites = testSites({
    clock,
    openGroup: async () => intake,
    link: { onEvent: (event) => events.push(event) },
  });
  await sites.link.whenUp(soon());
  const remote = sites.link.intake(erp);
  await using writer = await remote.begin(fakeHeader(erp));
  intake.hold = new Promise(() => {});
  const write = writer.write(fakeDisk.identity, 0, new Uint8Array(mib));
  await settle();
  sites.restartReceiver();
  await expect(write).rejects.toMatchObject({ code: "LINK_RESET" });
  await expect(writer.seal({ dirtyBytes: 0, readBytes: 0 })).rejects.toMatchObject({
    code: "LINK_RESET",
  });
  expect(sites.link.health().isUp).toBe(true);
  await remote.ask();
  const downs = events.filter((event) => event.kind === "link-down");
  expect(downs.map(({ fault }) => fault.code)).toEqual(["LINK_RESET"]);
});

test("a channel that goes silent while it owes an answer is given up within 15 s, and the answer comes by another", async () => {
  using clock = movingClock(virtualClock());
  const intake = fakeIntake(erp);
  await using sites = testSites({ clock, openGroup: async () => intake });
  await sites.link.whenUp(soon());
  await clock.sleep(10_000);
  const remote = sites.link.intake(erp);
  await using writer = await remote.begin(fakeHeader(erp));
  const beganAtMs = clock.monotonicMs();
  for (const { receiver } of sites.channels.slice(1)) receiver.mute();
  await writer.write(fakeDisk.identity, 0, new Uint8Array(mib));
  expect(clock.monotonicMs() - beganAtMs).toBeLessThan(40_000);
  expect(intake.chunks).toBe(1);
  expect(sites.channels.length).toBeGreaterThan(4);
  expect(sites.link.health().resentBytes).toBe(0);
});

test("a vault that answers pings and takes nothing is LINK_STALLED, and the link stays up", async () => {
  using clock = movingClock(virtualClock());
  const intake = fakeIntake(erp);
  await using sites = testSites({ clock, openGroup: async () => intake });
  await sites.link.whenUp(soon());
  const remote = sites.link.intake(erp);
  const stuck = Promise.withResolvers<void>();
  intake.hold = stuck.promise;
  {
    await using writer = await remote.begin(fakeHeader(erp));
    const write = writer.write(fakeDisk.identity, 0, new Uint8Array(mib));
    await expect(write).rejects.toMatchObject({ code: "LINK_STALLED" });
  }
  expect(sites.link.health().isUp).toBe(true);
  intake.hold = null;
  stuck.resolve();
  await using writer = await remote.begin(fakeHeader(erp));
  await writer.write(fakeDisk.identity, 0, new Uint8Array(mib));
  await writer.seal({ dirtyBytes: 0, readBytes: 0 });
});

test("an idle link sends less than 1 KiB/s, with TLS and TCP around it", async () => {
  using clock = movingClock(virtualClock());
  const intake = fakeIntake(erp);
  await using sites = testSites({ clock, openGroup: async () => intake });
  await sites.link.whenUp(soon());
  await clock.sleep(60_000);
  const before = sites.link.health();
  const seconds = 600;
  await clock.sleep(seconds * 1000);
  const after = sites.link.health();
  const bytes = after.sentBytes + after.receivedBytes - before.sentBytes - before.receivedBytes;
  // Each ping is a record (22 bytes around it) in a segment of its own (52), acknowledged apart at worst (52).
  const pings = seconds / 5 + 3 * (seconds / 30);
  const around = pings * 2 * (22 + 52 + 52);
  expect((bytes + around) / seconds).toBeLessThan(256);
  expect(sites.channels.length).toBe(4);
  expect(after.clock).toMatchObject({ offsetMs: 0 });
});

test("a session of another process of the same replicator takes the group over", async () => {
  using clock = movingClock(virtualClock());
  const intakes = [fakeIntake(erp), fakeIntake(erp)];
  let opened = 0;
  const openGroup = async () => intakes[opened++]!;
  await using first = testSites({ clock, openGroup, seed: 1 });
  await first.link.whenUp(soon());
  const older = first.link.intake(erp);
  const writer = await older.begin(fakeHeader(erp));
  await using second = testSites({
    clock,
    seed: 2,
    openGroup,
    receiver: {},
    to: first.receiver(),
  });
  await second.link.whenUp(soon());
  await using newer = await second.link.intake(erp).begin(fakeHeader(erp));
  expect(intakes[0]).toMatchObject({ givenUp: 1, disposed: 1 });
  await expect(writer.seal({ dirtyBytes: 0, readBytes: 0 })).rejects.toMatchObject({
    code: "LINK_RESET",
  });
  await expect(older.ask()).rejects.toMatchObject({ code: "LINK_RESET" });
  await newer.seal({ dirtyBytes: 0, readBytes: 0 });
});

test("a late word of an older session does not take the group from a newer one", async () => {
  using clock = movingClock(virtualClock());
  const openGroup = async () => fakeIntake(erp);
  await using first = testSites({ clock, openGroup, seed: 1 });
  await first.link.whenUp(soon());
  const to = first.receiver();
  await using second = testSites({ clock, seed: 2, openGroup, receiver: {}, to });
  await second.link.whenUp(soon());
  const newer = second.link.intake(erp);
  await newer.ask();
  await expect(first.link.intake(erp).ask()).rejects.toMatchObject({ code: "LINK_RESET" });
  await newer.ask();
});

test("what another replicator has open is not given up for one that may not write", async () => {
  using clock = movingClock(virtualClock());
  const intake = fakeIntake(erp);
  await using first = testSites({ clock, openGroup: async () => intake, seed: 1 });
  await first.link.whenUp(soon());
  const holder = first.link.intake(erp);
  {
    await using writer = await holder.begin(fakeHeader(erp));
    await writer.seal({ dirtyBytes: 0, readBytes: 0 });
  }
  await using writer = await holder.begin(fakeHeader(erp));
  const stranger = { name: "b", role: "replicator", id: "00000000000000bb", address: "b" } as const;
  await using second = testSites({
    clock,
    seed: 2,
    openGroup: async () => intake,
    peer: stranger,
    to: first.receiver(),
  });
  await second.link.whenUp(soon());
  const begin = second.link.intake(erp).begin(fakeHeader(erp, stranger.id));
  await expect(begin).rejects.toMatchObject({
    code: "GENERATION_CONFLICT",
    details: { holder: "00000000000000aa", number: 1 },
  });
  const lie = second.link.intake("other" as GroupName).begin(fakeHeader("other" as GroupName));
  await expect(lie).rejects.toMatchObject({ code: "PEER_REFUSED" });
  await writer.seal({ dirtyBytes: 0, readBytes: 0 });
});

test("a link that becomes a thousand times slower goes on, slowly", async () => {
  using clock = movingClock(virtualClock());
  const intake = fakeIntake(erp);
  let bytesPerSecond = 100 * mib;
  let freeAtMs = 0;
  const pace = async (bytes: number): Promise<void> => {
    const nowMs = clock.monotonicMs();
    freeAtMs = Math.max(freeAtMs, nowMs) + (bytes / bytesPerSecond) * 1000;
    await clock.sleep(freeAtMs - nowMs);
  };
  await using sites = testSites({ clock, openGroup: async () => intake, pace });
  await sites.link.whenUp(soon());
  await using writer = await sites.link.intake(erp).begin(fakeHeader(erp));
  let at = 0;
  const lane = async (end: number): Promise<void> => {
    while (at < end) await writer.write(fakeDisk.identity, at++ * mib, new Uint8Array(mib));
  };
  await Promise.all(Array.from({ length: 16 }, () => lane(200)));
  expect(sites.link.health().bytesPerSecond).toBeGreaterThan(20 * mib);
  bytesPerSecond = 100 * 1024;
  await Promise.allSettled(Array.from({ length: 4 }, () => lane(208)));
  bytesPerSecond = 100 * 1024;
  await using again = await sites.link.intake(erp).begin(fakeHeader(erp));
  const before = intake.chunks;
  for (let count = 0; count < 4; count += 1) {
    await again.write(fakeDisk.identity, count * mib, new Uint8Array(mib));
  }
  await again.seal({ dirtyBytes: 0, readBytes: 0 });
  expect(intake.chunks - before).toBeGreaterThanOrEqual(4);
});
