import fc from "fast-check";
import { expect, test } from "vitest";
import { virtualClock } from "../../sim/clock.ts";
import { seededPrng } from "../base/prng.ts";
import type { GroupName } from "../core/ids.ts";
import { hexOf, sha256 } from "../format/bytes.ts";
import { encodeCall } from "../format/wire-calls.ts";
import { encodeChunkHeader } from "../format/wire-chunk.ts";
import { encodeResume } from "../format/wire-control.ts";
import { encodeFrameHeader, type FrameType, frameTypes } from "../format/wire-frame.ts";
import { decodeGoodbye, decodeWelcome, encodeWelcome } from "../format/wire-hello.ts";
import { chunkBodyLengthBytesMax } from "../format/wire-limits.ts";
import { fakeDisk, fakeHeader, fakeIntake } from "./fake-intake-for-test.ts";
import { linkReceiver } from "./link-receiver.ts";
import { memoryChannelPair, testReplicator, testVault } from "./memory-channel-for-test.ts";
import { movingClock } from "./moving-clock-for-test.ts";
import { openLink } from "./open-link.ts";
import { RawPeer, settle } from "./raw-peer-for-test.ts";
import type { LinkReceiver, ReceiverEvent } from "./receiver.ts";
import type { ReceiverBounds } from "./receiver-bounds.ts";
import { testSites } from "./sites-for-test.ts";

const erp = "erp" as GroupName;
const mib = 1024 * 1024;

/** A vault's end and what it has to say. */
function receiverWorld(bounds: Partial<ReceiverBounds> = {}) {
  const clock = virtualClock();
  const intake = fakeIntake(erp);
  const events: ReceiverEvent[] = [];
  const receiver = linkReceiver({
    openGroup: async () => intake,
    clock,
    prng: seededPrng(1),
    bounds,
    onEvent: (event) => events.push(event),
  });
  const connect = (peer = testReplicator): RawPeer => {
    const pair = memoryChannelPair({ replicator: peer });
    receiver.accept(pair.receiver);
    return new RawPeer(pair.sender);
  };
  return {
    clock,
    intake,
    events,
    receiver,
    connect,
    /** Time passes in steps, and in each everything happens that is due. */
    pass: async (durationMs: number) => {
      for (let step = 0; step < 10; step += 1) {
        clock.advanceBy(durationMs / 10);
        await settle();
      }
    },
    [Symbol.asyncDispose]: () => receiver[Symbol.asyncDispose](),
  };
}

function chunkBody(offsetBytes = 0, lengthBytes = 65_536): Buffer {
  const data = Buffer.alloc(lengthBytes, 5);
  const place = { disk: fakeDisk.identity, offsetBytes, lengthBytes, codec: "raw" } as const;
  const list = [];
  for (let at = 0; at < lengthBytes; at += 65_536)
    list.push(sha256(data.subarray(at, at + 65_536)));
  return Buffer.concat([encodeChunkHeader(place), ...list, data]);
}

test("a request that comes twice is executed once, and answered for each", async () => {
  await using world = receiverWorld();
  const peer = world.connect();
  await peer.hello();
  await peer.send("call", encodeCall({ call: "begin", header: fakeHeader(erp) }), {
    request: 1,
    stream: 1,
  });
  await settle();
  const chunk = chunkBody();
  for (let times = 0; times < 3; times += 1) {
    await peer.send("chunk", chunk, { request: 2, stream: 1 });
    await settle();
  }
  expect(world.intake.chunks).toBe(1);
  // Asked for on another channel, the answer comes again; the one it came by first is over.
  const other = world.connect();
  await other.hello({ life: decodeWelcome(peer.of("welcome")[0]!.body).life, channel: 2 });
  await other.send("resume", encodeResume({ channels: [1], requests: [2, 3] }), { request: 1 });
  await settle();
  expect(hexOf(other.of("standing")[0]!.body)).toBe("0100");
  expect(other.of("answer").map(({ request }) => request)).toEqual([2]);
  expect(peer.isOver).toBe(true);
  // Confirmed by the watermark, it is not executed again either.
  await other.send("chunk", chunk, { request: 2, stream: 1, watermark: 3 });
  await settle();
  expect(world.intake.chunks).toBe(1);
});

test("who says nothing, or nothing but garbage, is dropped", async () => {
  await using world = receiverWorld();
  const silent = world.connect();
  const slow = world.connect();
  const early = world.connect();
  await early.send("call", encodeCall({ call: "ask", group: erp }), { request: 1 });
  const long = world.connect();
  const header = encodeFrameHeader({ type: "hello", bodyLengthBytes: 100 });
  header.writeUInt32LE(4_000_000_000, 0);
  await long.channel.send([header]);
  await settle();
  expect([early.isOver, long.isOver]).toEqual([true, true]);
  for (const byte of encodeFrameHeader({ type: "hello", bodyLengthBytes: 100 }).subarray(0, 11)) {
    await slow.channel.send([Uint8Array.of(byte)]).catch(() => {});
    await world.pass(1000);
  }
  expect([silent.isOver, slow.isOver]).toEqual([true, true]);
  expect(world.receiver.sessions()).toEqual([]);
  const faults = world.events.flatMap((event) =>
    event.kind === "channel-closed" ? [event.fault?.code] : [],
  );
  expect(faults.toSorted((a, b) => (String(a) < String(b) ? -1 : 1))).toEqual([
    "LINK_LOST",
    "LINK_LOST",
    "LINK_PROTOCOL",
    "LINK_PROTOCOL",
  ]);
});

test("a vault, or another peer with the session's id, is refused without a reason", async () => {
  await using world = receiverWorld();
  const vault = world.connect(testVault);
  await vault.hello();
  const first = world.connect();
  await first.hello();
  const thief = world.connect({ ...testReplicator, id: "00000000000000cc" });
  await thief.hello();
  await settle();
  expect([vault.isOver, first.isOver, thief.isOver]).toEqual([true, false, true]);
  expect(thief.of("welcome")).toEqual([]);
  expect(decodeGoodbye(thief.of("goodbye")[0]!.body)).toEqual({
    code: "PEER_REFUSED",
    message: "",
  });
});

test("chunks beyond what was granted end the channel; no memory grows", async () => {
  await using world = receiverWorld({ memoryBytes: 4 * mib, sessionBytesMax: 4 * mib });
  world.intake.hold = new Promise(() => {});
  const peer = world.connect();
  await peer.hello();
  await peer.send("call", encodeCall({ call: "begin", header: fakeHeader(erp) }), {
    request: 1,
    stream: 1,
  });
  await settle();
  for (let count = 0; count < 8 && !peer.isOver; count += 1) {
    await peer
      .send("chunk", chunkBody(count * mib, mib), { request: 2 + count, stream: 1 })
      .catch(() => {});
    await settle();
  }
  expect(peer.isOver).toBe(true);
  expect(world.intake.writingMax).toBeLessThanOrEqual(3);
});

test("sessions together never hold more than the vault's memory: who comes later waits", async () => {
  await using world = receiverWorld({ memoryBytes: 4 * mib, sessionBytesMax: 3 * mib });
  const stuck = Promise.withResolvers<void>();
  world.intake.hold = stuck.promise;
  const peers: RawPeer[] = [];
  for (let at = 0; at < 3; at += 1) {
    const peer = world.connect({ ...testReplicator, id: `00000000000000a${at}` });
    peers.push(peer);
    const group = `g${at}` as GroupName;
    await peer.hello({ session: `${at}`.repeat(32) });
    const header = fakeHeader(group, `00000000000000a${at}`);
    await peer.send("call", encodeCall({ call: "begin", header }), { request: 1, stream: 1 });
    await settle();
    for (let count = 0; count < 2; count += 1) {
      void peer
        .send("chunk", chunkBody(count * mib, mib), { request: 2 + count, stream: 1 })
        .catch(() => {});
    }
    await settle();
  }
  expect(world.intake.writing).toBe(3);
  stuck.resolve();
  await settle();
  await settle();
  expect(world.intake.chunks).toBe(6);
  expect(peers.map((peer) => peer.isOver)).toEqual([false, false, false]);
});

test("too many sessions, channels, groups, streams and requests are refused, one by one", async () => {
  await using world = receiverWorld({
    sessionsMax: 2,
    channelsPerSessionMax: 2,
    groupsPerSessionMax: 2,
    streamsPerSessionMax: 1,
  });
  const connect = async (session: string): Promise<RawPeer> => {
    const peer = world.connect();
    await peer.hello({ session: session.repeat(32) });
    await settle();
    return peer;
  };
  const peers = [await connect("1"), await connect("1"), await connect("1"), await connect("2")];
  peers.push(await connect("3"));
  expect(peers.map((peer) => peer.isOver)).toEqual([false, false, true, false, true]);
  const peer = peers[0]!;
  for (const [place, group] of ["a", "b", "c"].entries()) {
    await peer.send("call", encodeCall({ call: "ask", group }), { request: 1 + place });
  }
  await settle();
  expect(peer.of("answer").map(({ request }) => request)).toEqual([1, 2]);
  expect(peer.of("fault").map(({ request }) => request)).toEqual([3]);
  for (const stream of [1, 2]) {
    const call = encodeCall({ call: "begin", header: fakeHeader("a" as GroupName) });
    await peer.send("call", call, { request: 10 + stream, stream });
    await settle();
  }
  expect(peer.of("answer").at(-1)?.request).toBe(11);
  expect(peer.of("fault").at(-1)?.request).toBe(12);
});

test("whatever a replicator sends, the vault answers or drops it, and serves others", async () => {
  await using world = receiverWorld({ memoryBytes: 8 * mib });
  const types = Object.keys(frameTypes) as FrameType[];
  const frame = fc.record({
    type: fc.constantFrom(...types),
    body: fc.oneof(
      fc.uint8Array({ maxLength: 64 }),
      fc.json().map((text) => Buffer.from(text)),
      fc.constantFrom(
        chunkBody(),
        encodeCall({ call: "begin", header: fakeHeader(erp) }),
        encodeCall({ call: "seal", dirtyBytes: 0, readBytes: 0, contentRoot: null, clock: null }),
        encodeCall({ call: "close" }),
        encodeCall({ call: "adopt", staged: 1 }),
      ),
    ),
    request: fc.nat(20),
    stream: fc.nat(3),
    watermark: fc.nat(10),
    bend: fc.option(fc.record({ at: fc.nat(31), to: fc.nat(255) })),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(frame, { maxLength: 12 }), async (frames) => {
      const peer = world.connect();
      await peer.hello({ session: "f".repeat(32) });
      for (const { type, body, bend, ...about } of frames) {
        const fits = body.length <= (type === "ping" ? 16 : type === "pong" ? 32 : 60_000);
        const sent = fits ? body : body.subarray(0, 16);
        const header = encodeFrameHeader({ type, bodyLengthBytes: sent.length, ...about });
        if (bend !== null) header[bend.at] = bend.to;
        await peer.channel.send([header, sent]).catch(() => {});
      }
      await settle();
      await peer.channel[Symbol.asyncDispose]();
      const honest = world.connect({ ...testReplicator, id: "00000000000000ee" });
      await honest.hello({ session: "e".repeat(32) });
      await honest.send("ping", Buffer.alloc(16));
      await settle();
      expect(honest.of("pong").length).toBe(1);
      await honest.channel[Symbol.asyncDispose]();
    }),
    { numRuns: 60, seed: 20_261_121 },
  );
});

test("whatever a vault sends, the replicator drops the channel and dials again", async () => {
  using clock = movingClock(virtualClock());
  const raws: RawPeer[] = [];
  const dial = async () => {
    const pair = memoryChannelPair();
    raws.push(new RawPeer(pair.receiver));
    return pair.sender;
  };
  await using _link = openLink({ dial, clock, prng: seededPrng(3), channelCount: 1 });
  const types = Object.keys(frameTypes) as FrameType[];
  const frame = fc.record({
    type: fc.constantFrom(...types),
    body: fc.oneof(
      fc.uint8Array({ maxLength: 16 }),
      fc.json().map((text) => Buffer.from(text.slice(0, 16))),
    ),
    request: fc.nat(20),
    bend: fc.option(fc.record({ at: fc.nat(31), to: fc.nat(255) })),
    isWelcomed: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(frame, { minLength: 1, maxLength: 6 }), async (frames) => {
      const before = raws.length;
      while (raws.at(-1)!.isOver) await clock.sleep(100);
      const raw = raws.at(-1)!;
      if (frames[0]!.isWelcomed) {
        const grant = { sessionBytes: mib, streamBytes: mib };
        const life = "a".repeat(32);
        const welcome = { version: 1, life, isNew: true, channelsMax: 1, grant };
        await raw.send("welcome", encodeWelcome(welcome)).catch(() => {});
      }
      for (const { type, body, request, bend } of frames) {
        const header = encodeFrameHeader({ type, bodyLengthBytes: body.length, request });
        if (bend !== null) header[bend.at] = bend.to;
        await raw.channel.send([header, body]).catch(() => {});
      }
      await settle();
      await raw.channel[Symbol.asyncDispose]();
      while (raws.length === before) await clock.sleep(1000);
    }),
    { numRuns: 60, seed: 20_261_121 },
  );
});

test("peers of adjacent versions speak the older one, and pass over what the newer adds", async () => {
  using clock = movingClock(virtualClock());
  const intake = fakeIntake(erp);
  const newer = { min: 1, max: 2 };
  for (const versions of [{ link: { versions: newer } }, { receiver: { versions: newer } }]) {
    await using sites = testSites({ clock, openGroup: async () => intake, ...versions });
    await sites.link.whenUp({ signal: AbortSignal.timeout(5000) });
    const remote = sites.link.intake(erp);
    // A frame of version 2 that may be passed over, from either side.
    const extra = encodeFrameHeader({ type: "ping", bodyLengthBytes: 9 });
    extra[4] = 77;
    extra[5] = 1;
    const { sender, receiver } = sites.channels[0]!;
    await sender.send([extra, Buffer.alloc(9)]);
    await receiver.send([extra, Buffer.alloc(9)]);
    await remote.ask();
    await using writer = await remote.begin(fakeHeader(erp));
    await writer.write(fakeDisk.identity, 0, new Uint8Array(4096));
    await writer.seal({ dirtyBytes: 0, readBytes: 0 });
    expect(sites.channels.length).toBe(4);
  }
});

test("no common version is told, and no session is made", async () => {
  using clock = movingClock(virtualClock());
  const intake = fakeIntake(erp);
  const events: unknown[] = [];
  await using sites = testSites({
    clock,
    openGroup: async () => intake,
    link: { versions: { min: 2, max: 3 }, onEvent: (event) => events.push(event) },
  });
  await clock.sleep(1000);
  await settle();
  expect(sites.link.health().isUp).toBe(false);
  expect(sites.link.dialFault()).toMatchObject({ code: "LINK_VERSION" });
  expect(sites.receiver().sessions()).toEqual([]);
});

test("a revoked replicator loses its channels and what it had open at once", async () => {
  using clock = movingClock(virtualClock());
  const intake = fakeIntake(erp);
  await using sites = testSites({ clock, openGroup: async () => intake });
  await sites.link.whenUp({ signal: AbortSignal.timeout(5000) });
  await using writer = await sites.link.intake(erp).begin(fakeHeader(erp));
  const receiver: LinkReceiver = sites.receiver();
  await receiver.disconnect(testReplicator.id);
  expect(receiver.sessions()).toEqual([]);
  expect(intake).toMatchObject({ givenUp: 1, disposed: 1 });
  await expect(writer.seal({ dirtyBytes: 0, readBytes: 0 })).rejects.toMatchObject({
    code: expect.stringMatching(/^LINK_(LOST|RESET)$/),
  });
});

test("a session without channels is kept for ten minutes and then let go of", async () => {
  await using world = receiverWorld();
  const peer = world.connect();
  await peer.hello();
  await peer.send("call", encodeCall({ call: "begin", header: fakeHeader(erp) }), {
    request: 1,
    stream: 1,
  });
  await settle();
  await peer.channel[Symbol.asyncDispose]();
  await settle();
  await world.pass(590_000);
  expect(world.receiver.sessions()).toHaveLength(1);
  await world.pass(11_000);
  expect(world.receiver.sessions()).toEqual([]);
  expect(world.intake).toMatchObject({ givenUp: 1, disposed: 1 });
  expect(chunkBodyLengthBytesMax).toBeGreaterThan(mib);
});
