import { expect, test } from "vitest";
import { virtualClock } from "../../sim/clock.ts";
import type { GroupName } from "../core/ids.ts";
import { type FakeIntake, fakeDisk, fakeHeader, fakeIntake } from "./fake-intake-for-test.ts";
import { movingClock } from "./moving-clock-for-test.ts";
import { settle } from "./raw-peer-for-test.ts";
import { testSites } from "./sites-for-test.ts";

const [slow, quick] = ["slow", "quick"] as [GroupName, GroupName];
const mib = 1024 * 1024;
const soon = () => ({ signal: AbortSignal.timeout(5000) });

function groups() {
  const intakes = new Map([slow, quick].map((group) => [group, fakeIntake(group)]));
  const openGroup = async (_peer: unknown, group: GroupName): Promise<FakeIntake> =>
    intakes.get(group)!;
  return { openGroup, slow: intakes.get(slow)!, quick: intakes.get(quick)! };
}

test("a group whose vault takes nothing leaves room for the others", async () => {
  using clock = movingClock(virtualClock());
  const world = groups();
  await using sites = testSites({ clock, openGroup: world.openGroup });
  await sites.link.whenUp(soon());
  world.slow.hold = new Promise(() => {});
  await using stuck = await sites.link.intake(slow).begin(fakeHeader(slow));
  const stuckWrites = [];
  for (let at = 0; at < 64; at += 1) {
    const write = stuck.write(fakeDisk.identity, at * mib, new Uint8Array(mib));
    stuckWrites.push(write.catch((error: unknown) => error));
  }
  await settle();
  await using writer = await sites.link.intake(quick).begin(fakeHeader(quick));
  for (let at = 0; at < 64; at += 1) {
    await writer.write(fakeDisk.identity, at * mib, new Uint8Array(mib));
  }
  await writer.seal({ dirtyBytes: 0, readBytes: 0 });
  expect(world.quick.chunks).toBe(64);
  expect(world.slow.chunks).toBe(0);
  for (const error of await Promise.all(stuckWrites)) {
    expect(error).toMatchObject({ code: "LINK_STALLED" });
  }
});

test("a cap that is set while chunks wait holds from then on, and what it lets through is counted", async () => {
  using clock = movingClock(virtualClock());
  const world = groups();
  await using sites = testSites({ clock, openGroup: world.openGroup });
  await sites.link.whenUp(soon());
  await using writer = await sites.link.intake(quick).begin(fakeHeader(quick));
  sites.link.setCaps({ link: null, groups: new Map([[quick, mib]]) });
  const beganAtMs = clock.monotonicMs();
  const writes = [];
  for (let at = 0; at < 20; at += 1) {
    writes.push(writer.write(fakeDisk.identity, at * mib, new Uint8Array(mib)));
  }
  await Promise.all(writes);
  const seconds = (clock.monotonicMs() - beganAtMs) / 1000;
  expect(seconds).toBeGreaterThan(18);
  expect(seconds).toBeLessThan(22);
  const traffic = sites.link.groupTraffic(quick);
  expect(traffic).toMatchObject({ dataBytes: 20 * mib, resentBytes: 0, waitingBytes: 0 });
  expect(traffic.wireBytes).toBe(20 * (mib + 16 * 32 + 24 + 32));
});

test("many small chunks fill a long way: their writer goes on before they are answered", async () => {
  using clock = movingClock(virtualClock());
  const world = groups();
  await using sites = testSites({ clock, openGroup: world.openGroup });
  await sites.link.whenUp(soon());
  await using writer = await sites.link.intake(quick).begin(fakeHeader(quick));
  const held = Promise.withResolvers<void>();
  world.quick.hold = held.promise;
  const data = new Uint8Array(64 * 1024).fill(1);
  for (let at = 0; at < 40; at += 1) {
    await writer.write(fakeDisk.identity, at * mib, data);
    data.fill(2); // The writer's again.
  }
  expect(world.quick.chunks).toBe(0);
  held.resolve();
  await writer.seal({ dirtyBytes: 0, readBytes: 0 });
  expect(world.quick.chunks).toBe(40);
});

test("what a group's disks are stored as can change from chunk to chunk", async () => {
  using clock = movingClock(virtualClock());
  const world = groups();
  let codec: "raw" | "zstd" = "raw";
  const asked: string[] = [];
  await using sites = testSites({
    clock,
    openGroup: world.openGroup,
    link: {
      codecOf: (disk, group) => {
        asked.push(`${group}:${disk}`);
        return codec;
      },
    },
  });
  await sites.link.whenUp(soon());
  await using writer = await sites.link.intake(quick).begin(fakeHeader(quick));
  await writer.write(fakeDisk.identity, 0, new Uint8Array(mib));
  const raw = sites.link.groupTraffic(quick).wireBytes;
  codec = "zstd";
  await writer.write(fakeDisk.identity, mib, new Uint8Array(mib));
  const both = sites.link.groupTraffic(quick);
  expect(raw).toBeGreaterThan(mib);
  expect(both.wireBytes - raw).toBeLessThan(4096);
  expect(both.dataBytes).toBe(2 * mib);
  expect(world.quick.bytes).toBe(2 * mib);
  expect(asked).toEqual(["quick:vm/disk", "quick:vm/disk"]);
});

test("more small requests than the vault bears at a time wait at the sender", async () => {
  using clock = movingClock(virtualClock());
  const world = groups();
  await using sites = testSites({ clock, openGroup: world.openGroup });
  await sites.link.whenUp(soon());
  await using writer = await sites.link.intake(quick).begin(fakeHeader(quick));
  const calls = [];
  for (let at = 0; at < 3000; at += 1) calls.push(writer.zero(fakeDisk.identity, at * mib, 4096));
  await Promise.all(calls);
  await writer.seal({ dirtyBytes: 0, readBytes: 0 });
  expect(sites.channels.length).toBe(4);
});

test("what a vault grants is never exceeded, and all of it is used", async () => {
  using clock = movingClock(virtualClock());
  const world = groups();
  const grantedBytes = 6 * mib;
  await using sites = testSites({
    clock,
    openGroup: world.openGroup,
    receiver: { bounds: { memoryBytes: grantedBytes, sessionBytesMax: grantedBytes } },
  });
  await sites.link.whenUp(soon());
  const held = Promise.withResolvers<void>();
  world.quick.hold = held.promise;
  await using writer = await sites.link.intake(quick).begin(fakeHeader(quick));
  const writes = [];
  for (let at = 0; at < 32; at += 1) {
    writes.push(writer.write(fakeDisk.identity, at * mib, new Uint8Array(mib)));
  }
  await settle();
  // A stream alone has three quarters; a frame is a little more than its chunk.
  expect(world.quick.writing).toBe(4);
  held.resolve();
  await Promise.all(writes);
  await writer.seal({ dirtyBytes: 0, readBytes: 0 });
  // A vault that gets more than it granted ends the channel.
  expect(sites.channels.length).toBe(4);
});

test("a cap that is raised lets at once through what waited for the lower one", async () => {
  using clock = movingClock(virtualClock());
  const world = groups();
  await using sites = testSites({ clock, openGroup: world.openGroup });
  await sites.link.whenUp(soon());
  await using writer = await sites.link.intake(quick).begin(fakeHeader(quick));
  sites.link.setCaps({ link: 1000, groups: new Map() });
  const writes = [];
  for (let at = 0; at < 40; at += 1) {
    writes.push(writer.write(fakeDisk.identity, at * mib, new Uint8Array(mib)));
  }
  await clock.sleep(1000);
  const raisedAtMs = clock.monotonicMs();
  sites.link.setCaps({ link: 4 * mib, groups: new Map() });
  await Promise.all(writes);
  expect(clock.monotonicMs() - raisedAtMs).toBeLessThan(12_000);
});
