import { expect, onTestFinished, test } from "vitest";
import { type ChannelHarness, channelContract } from "../../sim/channel-contract.ts";
import { systemClock } from "../base/clock.ts";
import { memoryFileSystem } from "../base/memory-file-system.ts";
import { seededPrng } from "../base/prng.ts";
import { tlsChannel } from "./channel.ts";
import { connectUnchecked, secureContextOf } from "./dial.ts";
import { joinVault } from "./join.ts";
import { openReplicatorIdentity } from "./replicator-identity.ts";
import {
  ClockForTest,
  never,
  type VaultForTest,
  vaultForTest,
  vaultIdForTest,
} from "./vault-for-test.ts";

const clock = systemClock();

async function enrolled(vault: VaultForTest, time = clock) {
  const addresses = [vault.listener.address];
  const { token } = await vault.store.invite({ name: "site-a", addresses });
  const common = { files: memoryFileSystem(), directory: "/state", clock: time };
  await joinVault({ ...common, token, prng: seededPrng(3), signal: never });
  return await openReplicatorIdentity(common);
}

async function open(): Promise<ChannelHarness> {
  const vault = await vaultForTest({ clock });
  const identity = await enrolled(vault);
  const near = await identity.dial({ signal: never });
  const far = await vault.channel(0);
  return {
    near,
    far,
    settle: (promise) => promise,
    [Symbol.asyncDispose]: async () => {
      await near[Symbol.asyncDispose]();
      await far[Symbol.asyncDispose]();
    },
  };
}

channelContract("a channel over TLS", open);

test("what was handed over is the taker's, unless it was borrowed", async () => {
  for (const isBorrowed of [false, true]) {
    await using harness = await open();
    const { near, far } = harness;
    near.receive(() => null);
    const lengthBytes = 3_000_000;
    const sent = new Uint8Array(lengthBytes);
    seededPrng(1).fill(sent);
    const parts: Uint8Array[] = [];
    let sum = 0;
    const arrived = Promise.withResolvers<void>();
    far.receive(
      (bytes) => {
        parts.push(isBorrowed ? Buffer.from(bytes) : bytes);
        sum += bytes.length;
        if (sum === lengthBytes) arrived.resolve();
        // Now and then the taker is busy, and what was decrypted meanwhile has to wait unharmed.
        return parts.length % 7 === 0 ? new Promise((resolve) => setImmediate(resolve)) : null;
      },
      { isBorrowed },
    );
    await near.send([sent]);
    await arrived.promise;
    expect(Buffer.concat(parts).equals(sent)).toBe(true);
  }
});

test("a borrowed buffer stays as it is while it is being taken", async () => {
  await using harness = await open();
  const { near, far } = harness;
  near.receive(() => null);
  const changed: boolean[] = [];
  let sum = 0;
  const arrived = Promise.withResolvers<void>();
  far.receive(
    async (bytes) => {
      const before = Buffer.from(bytes);
      for (let turns = 0; turns < 3; turns += 1) await new Promise((go) => setImmediate(go));
      changed.push(!before.equals(bytes));
      sum += bytes.length;
      if (sum === 600_000) arrived.resolve();
    },
    { isBorrowed: true },
  );
  const sent = new Uint8Array(600_000);
  seededPrng(2).fill(sent);
  await near.send([sent]);
  await arrived.promise;
  expect(changed).not.toContain(true);
});

test("a taker that fails ends the channel", async () => {
  await using harness = await open();
  const { near, far } = harness;
  near.receive(() => null);
  far.receive(() => Promise.reject(new Error("no room")));
  await near.send([Buffer.from("x")]);
  expect(await far.closed).toMatchObject({ code: "LINK_LOST", cause: new Error("no room") });
  expect((await near.closed)?.code).toBe("LINK_LOST");
});

test("a channel whose certificate expires is cut, and the replicator comes back with a renewed one", async () => {
  const time = new ClockForTest(clock.nowMs());
  const vault = await vaultForTest({ clock: time });
  const identity = await enrolled(vault, time);
  const near = await identity.dial({ signal: never });
  near.receive(() => null);
  const far = await vault.channel(0);
  // The vault renews its own too, and no channel falls for that.
  const shown = vault.identity.current();
  const stopping = new AbortController();
  onTestFinished(() => stopping.abort());
  vault.identity.keepFresh({ signal: stopping.signal }).catch(() => {}); // It ends with the test.
  time.advance(25 * 86_400_000);
  while (vault.identity.current() === shown) await new Promise((go) => setImmediate(go));
  expect(vault.listener.channelCount).toBe(1);
  await identity.renew({ signal: never });
  const renewed = await identity.dial({ signal: never });
  renewed.receive(() => null);
  await vault.channel(1);
  // The first channel's certificate ends now; the second one's does not.
  time.advance(5 * 86_400_000);
  expect(await far.closed).toMatchObject({
    code: "PEER_REFUSED",
    message: expect.stringMatching(/expire/),
  });
  expect((await near.closed)?.code).toBe("LINK_LOST");
  expect(vault.listener.channelCount).toBe(1);
  expect(vault.refused).toMatchObject([
    { reason: expect.stringMatching(/cut/), claimed: "site-a" },
  ]);
  await using again = await identity.dial({ signal: never });
  await vault.channel(2);
  expect(again.sentBytes).toBeGreaterThan(0);
  await renewed[Symbol.asyncDispose]();
});

test("revoking cuts a live channel: at once when asked, else at the next look", async () => {
  const time = new ClockForTest(clock.nowMs());
  const vault = await vaultForTest({ clock: time });
  const identity = await enrolled(vault, time);
  const first = await identity.dial({ signal: never });
  first.receive(() => null);
  await vault.channel(0);
  await vault.store.revoke("site-a");
  time.advance(10_000);
  expect((await first.closed)?.code).toBe("LINK_LOST");
  const back = await enrolled(vault, time);
  const second = await back.dial({ signal: never });
  second.receive(() => null);
  await vault.channel(1);
  await vault.store.revoke("site-a");
  expect(vault.listener.cut("site-a")).toBe(1);
  expect((await second.closed)?.code).toBe("LINK_LOST");
});

test("closing the listener ends every channel, politely", async () => {
  const vault = await vaultForTest({ clock });
  const identity = await enrolled(vault);
  const near = await identity.dial({ signal: never });
  near.receive(() => null);
  const far = await vault.channel(0);
  await vault.listener[Symbol.asyncDispose]();
  expect(await far.closed).toBeNull();
  expect((await near.closed)?.code).toBe("LINK_LOST");
  await expect(identity.dial({ signal: never })).rejects.toMatchObject({ code: "LINK_LOST" });
});

test("a channel ends before one key has protected more than it may", async () => {
  const vault = await vaultForTest({ clock });
  const identity = await enrolled(vault);
  const connected = await connectUnchecked({
    address: vault.listener.address,
    secureContext: secureContextOf(identity.current()),
    trust: null,
    clock,
    signal: never,
  });
  const peer = { name: "vault", role: "vault", id: vaultIdForTest, address: "" } as const;
  const near = tlsChannel({ ...connected, peer, recordsMax: 3 });
  const far = await vault.channel(0);
  far.receive(() => null);
  near.receive(() => null);
  await near.send([new Uint8Array(16_384 * 3)]);
  await near.send([new Uint8Array(1)]);
  expect(await near.closed).toMatchObject({ code: "LINK_LOST", details: { records: 4 } });
  await expect(near.send([new Uint8Array(1)])).rejects.toMatchObject({ code: "LINK_LOST" });
  expect((await far.closed)?.code).toBe("LINK_LOST");
});

test("nothing is handed over any more once a channel is being disposed", async () => {
  const time = new ClockForTest(clock.nowMs());
  const vault = await vaultForTest({ clock });
  const identity = await enrolled(vault, time);
  const near = await identity.dial({ signal: never });
  // The far end takes nothing, so what near sent last cannot leave, and disposing has to wait.
  const far = await vault.channel(0);
  near.send([new Uint8Array(64_000_000)]).catch(() => {}); // It ends with the channel.
  let isDisposing = false;
  let late = 0;
  near.receive(() => {
    if (isDisposing) late += 1;
    return null;
  });
  const disposed = near[Symbol.asyncDispose]();
  isDisposing = true;
  const before = near.receivedBytes;
  await far.send([new Uint8Array(100_000)]);
  while (near.receivedBytes < before + 100_000) await new Promise((go) => setImmediate(go));
  time.advance(1_000);
  await disposed;
  expect(await near.closed).toBeNull();
  expect(late).toBe(0);
});

test("dialling ends when it is aborted, or when nobody finishes the handshake in time", async () => {
  const vault = await vaultForTest({ clock });
  const identity = await enrolled(vault);
  const reason = new Error("enough");
  await expect(identity.dial({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
});
