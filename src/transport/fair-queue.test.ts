import { expect, test } from "vitest";
import { virtualClock } from "../../sim/clock.ts";
import type { GroupName } from "../core/ids.ts";
import { FairQueue } from "./fair-queue.ts";
import { type Outgoing, outgoing } from "./outgoing.ts";

const [a, b, c] = ["a", "b", "c"] as [GroupName, GroupName, GroupName];
const kib = 1024;
const always = () => true;
const none = new Map<GroupName, number>();

function chunk(group: GroupName, lengthBytes: number): Outgoing {
  const body = [new Uint8Array(lengthBytes - 32)];
  const ignore = () => {};
  return outgoing({
    type: "chunk",
    group,
    stream: null,
    body,
    answerMsMax: null,
    resolve: ignore,
    reject: ignore,
  });
}

/** Takes so many bytes, and says how many were each group's. */
function served(queue: FairQueue, bytes: number, mayGo: (at: Outgoing) => boolean = always) {
  const shares = new Map<GroupName, number>();
  for (let taken = 0; taken < bytes; ) {
    const request = queue.take(mayGo);
    if (request === null) break;
    taken += request.lengthBytes;
    shares.set(request.group, (shares.get(request.group) ?? 0) + request.lengthBytes);
  }
  return shares;
}

test("groups get the same share of bytes, whatever the length of their chunks", () => {
  const queue = new FairQueue(virtualClock());
  for (let count = 0; count < 64; count += 1) queue.push(chunk(a, 1024 * kib));
  for (let count = 0; count < 1024; count += 1) queue.push(chunk(b, 64 * kib));
  for (let count = 0; count < 4096; count += 1) queue.push(chunk(c, 16 * kib));
  const shares = served(queue, 48 * 1024 * kib);
  for (const group of [a, b, c]) {
    expect(Math.abs((shares.get(group) ?? 0) / (16 * 1024 * kib) - 1)).toBeLessThan(0.1);
  }
});

test("a group that may not go now does not hold up another, and loses no turn for later", () => {
  const queue = new FairQueue(virtualClock());
  for (let count = 0; count < 8; count += 1) {
    queue.push(chunk(a, 1024 * kib));
    queue.push(chunk(b, 1024 * kib));
  }
  expect(served(queue, 4096 * kib, (at) => at.group === b).get(b)).toBe(4096 * kib);
  expect(served(queue, 8192 * kib).get(a)).toBeGreaterThanOrEqual(4096 * kib);
});

test("a cap holds the link, or a group, to its bytes per second and no other group", () => {
  const clock = virtualClock();
  const queue = new FairQueue(clock);
  queue.setCaps({ link: null, groups: new Map([[a, 100_000]]) });
  for (let count = 0; count < 1000; count += 1) {
    queue.push(chunk(a, 10_000));
    queue.push(chunk(b, 10_000));
  }
  expect(served(queue, 1_000_000).get(b)).toBeGreaterThanOrEqual(900_000);
  let bytes = 0;
  for (let step = 0; step < 1000; step += 1) {
    clock.advanceBy(10);
    bytes += served(queue, 1_000_000, (at) => at.group === a).get(a) ?? 0;
  }
  expect(Math.abs(bytes / 1_000_000 - 1)).toBeLessThan(0.05);
  queue.setCaps({ link: 50_000, groups: none });
  bytes = 0;
  for (let step = 0; step < 1000; step += 1) {
    clock.advanceBy(10);
    for (const share of served(queue, 1_000_000).values()) bytes += share;
  }
  expect(Math.abs(bytes / 500_000 - 1)).toBeLessThan(0.05);
  queue.setCaps({ link: null, groups: none });
  expect(served(queue, 200_000).size).toBeGreaterThan(0);
  expect(queue.take(always)).not.toBeNull();
});

test("a capped queue says how long until it may go on, and only then", () => {
  const clock = virtualClock();
  const queue = new FairQueue(clock);
  queue.setCaps({ link: 1000, groups: none });
  queue.push(chunk(a, 2000));
  queue.push(chunk(a, 2000));
  expect(queue.take(always)).not.toBeNull();
  expect(queue.take(always)).toBeNull();
  expect(queue.waitMs).toBe(2000);
  clock.advanceBy(2000);
  expect(queue.take(always)).not.toBeNull();
});
