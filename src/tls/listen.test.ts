import { expect, onTestFinished, test } from "vitest";
import { systemClock } from "../base/clock.ts";
import type { Channel } from "../core/channel.ts";
import { dialTls } from "./dial.ts";
import { type IdentitiesForTest, identitiesForTest } from "./identity-for-test.ts";
import { listenTls, type TlsListenOptions } from "./listen.ts";
import type { RefusedPeer } from "./refusal-log.ts";

async function serve(ids: IdentitiesForTest, options: Partial<TlsListenOptions> = {}) {
  const channels: Channel[] = [];
  const refused: RefusedPeer[] = [];
  const waiting: ((channel: Channel) => void)[] = [];
  const listener = await listenTls({
    host: "127.0.0.1",
    port: 0,
    identity: () => ids.vault,
    trust: ids.trust,
    isRevoked: () => false,
    onChannel: (channel) => {
      channels.push(channel);
      waiting.shift()?.(channel);
    },
    onRefused: (peer) => refused.push(peer),
    clock: systemClock(),
    ...options,
  });
  onTestFinished(() => listener[Symbol.asyncDispose]());
  const nextChannel = () => new Promise<Channel>((resolve) => waiting.push(resolve));
  return { listener, channels, refused, nextChannel };
}

const never = new AbortController().signal;

test("both ends know whom they speak with, and bytes arrive in order both ways", async () => {
  const ids = await identitiesForTest();
  const { listener, nextChannel } = await serve(ids);
  const accepted = nextChannel();
  const { address } = listener;
  const dial = dialTls({ address, identity: () => ids.replicator, trust: ids.trust });
  await using near = await dial({ signal: never });
  const far = await accepted;
  expect(near.peer).toMatchObject({ role: "vault", id: ids.vaultId });
  expect(far.peer).toMatchObject({ role: "replicator", name: "site-a", id: "bbbbbbbbbbbbbbbb" });
  far.receive((bytes) => far.send([bytes]));
  const parts = [3, 200_000, 5, 7, 1_000_000].map((lengthBytes, index) =>
    new Uint8Array(lengthBytes).fill(index + 1),
  );
  const whole = Buffer.concat(parts);
  const back: Uint8Array[] = [];
  let backBytes = 0;
  const done = Promise.withResolvers<void>();
  near.receive((bytes) => {
    back.push(bytes);
    backBytes += bytes.length;
    if (backBytes === whole.length) done.resolve();
    return null;
  });
  await near.send(parts);
  await done.promise;
  expect(Buffer.concat(back).equals(whole)).toBe(true);
  expect(near.sentBytes).toBeGreaterThan(whole.length);
  expect(near.receivedBytes).toBeGreaterThan(whole.length);
  expect(far.receivedBytes).toBeGreaterThan(whole.length);
});
