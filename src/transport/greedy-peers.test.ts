import { expect, test } from "vitest";
import { virtualClock } from "../../sim/clock.ts";
import { seededPrng } from "../base/prng.ts";
import type { Channel, Peer } from "../core/channel.ts";
import type { DiskIdentity, DiskName, GroupName, PointId } from "../core/ids.ts";
import type { JournalIntake, StagedStatus } from "../core/journal.ts";
import { encodeCall } from "../format/wire-calls.ts";
import { encodeResume } from "../format/wire-control.ts";
import { encodeFrameHeader } from "../format/wire-frame.ts";
import { chunkBodyLengthBytesMax } from "../format/wire-limits.ts";
import { fakeHeader, fakeIntake } from "./fake-intake-for-test.ts";
import { linkReceiver } from "./link-receiver.ts";
import { memoryChannelPair, testReplicator } from "./memory-channel-for-test.ts";
import { RawPeer, settle } from "./raw-peer-for-test.ts";
import type { ReceiverEvent } from "./receiver.ts";
import { type ReceiverBounds, receiverBounds } from "./receiver-bounds.ts";

const erp = "erp" as GroupName;
const mib = 1024 * 1024;
const honestPeer: Peer = { ...testReplicator, id: "00000000000000ee" };

/** A vault's end, and peers that want more of it than their share. */
function greedyWorld(
  bounds: Partial<ReceiverBounds> = {},
  intake: JournalIntake = fakeIntake(erp),
) {
  const clock = virtualClock();
  const events: ReceiverEvent[] = [];
  const receiver = linkReceiver({
    openGroup: async () => intake,
    clock,
    prng: seededPrng(1),
    bounds,
    onEvent: (event) => events.push(event),
  });
  const connect = async (session: string, peer = testReplicator) => {
    const pair = memoryChannelPair({ replicator: peer });
    receiver.accept(pair.receiver);
    const raw = new RawPeer(pair.sender);
    await raw.hello({ session });
    await settle();
    return { raw, ...pair };
  };
  const dispose = () => receiver[Symbol.asyncDispose]();
  return { clock, events, receiver, connect, [Symbol.asyncDispose]: dispose };
}

/** 32 hex digits. */
const sessionId = (number: number) => number.toString(16).padStart(32, "0");

test("a replicator that starts again and again takes no places of others", async () => {
  await using world = greedyWorld({ sessionsMax: 8, sessionsPerPeerMax: 2 });
  for (let start = 1; start <= 20; start += 1) {
    const { raw } = await world.connect(sessionId(start));
    expect(raw.isOver).toBe(false);
    await raw.channel[Symbol.asyncDispose]();
    await settle();
  }
  expect(world.receiver.sessions().length).toBe(2);
  const honest = await world.connect("e".repeat(32), honestPeer);
  expect(honest.raw.isOver).toBe(false);
});

test("a replicator with many sessions that hold their channels is refused further ones", async () => {
  await using world = greedyWorld({ sessionsMax: 8, sessionsPerPeerMax: 2 });
  const peers = [];
  for (let start = 1; start <= 4; start += 1) peers.push(await world.connect(sessionId(start)));
  expect(peers.map(({ raw }) => raw.isOver)).toEqual([false, false, true, true]);
});

test("what one replicator announces and never sends leaves memory to others", async () => {
  await using world = greedyWorld({ memoryBytes: 8 * mib, sessionBytesMax: 4 * mib });
  const announced = encodeFrameHeader({ type: "chunk", bodyLengthBytes: chunkBodyLengthBytesMax });
  for (const session of [1, 2, 3]) {
    for (let channel = 1; channel <= 6; channel += 1) {
      const { raw } = await world.connect(sessionId(session));
      await raw.channel.send([announced, new Uint8Array(10)]).catch(() => {});
      await settle();
    }
  }
  const honest = await world.connect("e".repeat(32), honestPeer);
  const call = { call: "begin", header: fakeHeader(erp, honestPeer.id) } as const;
  const long = { ...call.header, notes: Array.from({ length: 100 }, () => "n".repeat(1000)) };
  await honest.raw.send("call", encodeCall({ ...call, header: long }), { request: 1, stream: 1 });
  await settle();
  expect(honest.raw.of("answer").length).toBe(1);
});

test("a group that a copy of the replicator took comes back when the copy's session ends", async () => {
  await using world = greedyWorld({ sessionKeptMs: 1000 });
  const ask = encodeCall({ call: "ask", group: erp });
  const first = await world.connect(sessionId(1));
  await first.raw.send("call", ask, { request: 1 });
  await settle();
  const copy = await world.connect(sessionId(2));
  await copy.raw.send("call", ask, { request: 1 });
  await settle();
  await first.raw.send("call", ask, { request: 2 });
  await settle();
  expect(first.raw.of("fault").map(({ request }) => request)).toEqual([2]);
  await copy.raw.channel[Symbol.asyncDispose]();
  await settle();
  world.clock.advanceBy(1001);
  await settle();
  await first.raw.send("call", ask, { request: 3 });
  await settle();
  expect(first.raw.of("answer").map(({ request }) => request)).toEqual([1, 3]);
});

test("a peer that asks and does not read what is answered is not read either", async () => {
  await using world = greedyWorld();
  const { receiver, sender } = memoryChannelPair();
  const given: (() => void)[] = [];
  let sentBytes = 0;
  const slow: Channel = {
    ...{ peer: receiver.peer, closed: receiver.closed, sentBytes: 0, receivedBytes: 0 },
    receive: (take) => receiver.receive(take),
    [Symbol.asyncDispose]: () => receiver[Symbol.asyncDispose](),
    // The socket takes one send and is full.
    send: (parts: readonly Uint8Array[]) => {
      sentBytes += parts.reduce((sum, part) => sum + part.length, 0);
      return new Promise<void>((resolve) => given.push(resolve));
    },
  };
  world.receiver.accept(slow);
  const raw = new RawPeer(sender);
  await raw.hello();
  const ping = encodeFrameHeader({ type: "ping", bodyLengthBytes: 16 });
  const pings = Array.from({ length: 2000 }, () => [ping, new Uint8Array(16)]).flat();
  let accepted = 0;
  for (let round = 0; round < 100; round += 1) {
    let isTaken = false;
    void sender.send(pings).then(
      () => {
        isTaken = true;
      },
      () => {},
    );
    await settle();
    if (!isTaken) break;
    accepted += 1;
  }
  expect(accepted).toBeLessThan(40);
  // Once it reads, it is read again.
  for (let turn = 0; turn < 200; turn += 1) {
    for (const resolve of given.splice(0)) resolve();
    await settle();
  }
  expect(sentBytes).toBeGreaterThan(accepted * 2000 * 64);
});

test("an answer is sent once for a resume, however often it names it", async () => {
  await using world = greedyWorld();
  const { raw } = await world.connect(sessionId(1));
  await raw.send("call", encodeCall({ call: "ask", group: erp }), { request: 1 });
  await settle();
  const body = encodeResume({ channels: [], requests: Array.from({ length: 1000 }, () => 1) });
  await raw.send("resume", body, { request: 9 });
  await settle();
  expect(raw.of("answer").length).toBe(2);
});

test("long answers that are never confirmed end the session", async () => {
  const head = { ...fakeHeader(erp), notes: Array.from({ length: 500 }, () => "n".repeat(1000)) };
  const intake = fakeIntake(erp);
  const writer = await intake.begin(head);
  await writer.seal({ dirtyBytes: 0, readBytes: 0 });
  await using world = greedyWorld({ answersBytesMax: 2 * mib }, intake);
  const { raw } = await world.connect(sessionId(1));
  const call = encodeCall({ call: "ask", group: erp });
  const header = (request: number) =>
    encodeFrameHeader({ type: "call", bodyLengthBytes: call.length, request });
  const burst = Array.from({ length: 500 }, (_, place) => [header(place + 1), call]).flat();
  await raw.channel.send(burst).catch(() => {});
  await settle();
  await settle();
  const bytes = raw.of("answer").reduce((sum, { body }) => sum + body.length, 0);
  expect(bytes).toBeLessThan(8 * mib);
  expect(raw.isOver).toBe(true);
});

test("an answer that is too long for a frame is a fault, not the end of the vault", async () => {
  const staged: StagedStatus[] = Array.from({ length: 40_000 }, (_, place) => ({
    kind: "base",
    disk: `vm/${String(place).padStart(60, "0")}` as DiskName,
    identity: String(place).padStart(16, "0") as DiskIdentity,
    sizeBytes: 4096,
    syncId: "0".repeat(16) as PointId,
    resumeAtBytes: 0,
  }));
  const intake: JournalIntake = {
    ...fakeIntake(erp),
    ask: async () => ({ head: null, staged, generation: null, owed: null }),
  };
  await using world = greedyWorld({}, intake);
  const { raw } = await world.connect(sessionId(1));
  await raw.send("call", encodeCall({ call: "ask", group: erp }), { request: 1 });
  await settle();
  expect(raw.of("fault").length).toBe(1);
  expect(receiverBounds.sessionsPerPeerMax).toBeGreaterThan(1);
});
