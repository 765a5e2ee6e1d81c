import { expect, test } from "vitest";
import { seededPrng } from "../src/base/prng.ts";
import type { Channel } from "../src/core/channel.ts";
import { channelContract } from "./channel-contract.ts";
import type { Party } from "./channel-pair.ts";
import { type VirtualClock, virtualClock } from "./clock.ts";
import { Network } from "./network.ts";

const weather = { latencyMs: 20, jitterMs: 5, bytesPerSecond: 10_000_000 };
const { signal } = new AbortController();

function makeParty(role: "replicator" | "vault"): Party & { kill(): void } {
  let over = false;
  const peer = { name: role, role, id: "0123456789abcdef", address: "198.51.100.1:7443" };
  return { peer, isOver: () => over, kill: () => (over = true) };
}

/** Lets virtual time pass until the promise is settled. */
async function settle<Value>(clock: VirtualClock, promise: Promise<Value>): Promise<Value> {
  let isSettled = false;
  const done = promise.finally(() => {
    isSettled = true;
  });
  done.catch(() => {});
  for (let turns = 0; !isSettled && turns < 100_000; turns += 1) {
    await new Promise<void>((resolve) => setImmediate(resolve));
    if (!isSettled) clock.advance();
  }
  return done;
}

async function open(seed = 1) {
  const clock = virtualClock();
  const network = new Network({ clock, prng: seededPrng(seed), weather });
  const [replicator, vault] = [makeParty("replicator"), makeParty("vault")];
  const accepted: Channel[] = [];
  network.listen({ party: vault, accept: (channel) => accepted.push(channel) });
  const near = await settle(clock, network.dialFrom(replicator)({ signal }));
  const far = accepted[0]!;
  return { clock, network, replicator, vault, near, far, accepted };
}

channelContract("the virtual network's channel", async () => {
  const { clock, near, far } = await open();
  return {
    near,
    far,
    settle: (promise) => settle(clock, promise),
    [Symbol.asyncDispose]: async () => {},
  };
});

/** What arrives at a channel, joined. */
function listenTo(channel: Channel): { text: () => string } {
  let text = "";
  channel.receive((bytes) => {
    text += Buffer.from(bytes).toString();
    return null;
  });
  return { text: () => text };
}

function noteArrival(channel: Channel, name: string, order: string[]): void {
  channel.receive(() => {
    order.push(name);
    return null;
  });
}

function passTime(clock: VirtualClock, byMs: number): Promise<void> {
  return settle(clock, clock.sleep(byMs));
}

test("what is sent arrives after the latency and not before", async () => {
  const { clock, near, far } = await open();
  const heard = listenTo(far);
  await near.send([Buffer.from("a")]);
  await passTime(clock, 15);
  expect(heard.text()).toBe("");
  await passTime(clock, 15);
  expect(heard.text()).toBe("a");
});

test("of what is on the way when the connection is cut only a first part arrives", async () => {
  const lengths = new Set<number>();
  for (let seed = 1; seed <= 40; seed += 1) {
    const { clock, network, near, far } = await open(seed);
    const heard = listenTo(far);
    await near.send([Buffer.from("0123456789")]);
    network.cutAll();
    await passTime(clock, 100_000);
    expect("0123456789".startsWith(heard.text())).toBe(true);
    lengths.add(heard.text().length);
  }
  expect(lengths.size).toBeGreaterThan(4);
});

test("the two ends learn of a cut at different times, and sometimes one never does", async () => {
  const stories = new Set<string>();
  for (let seed = 1; seed <= 60; seed += 1) {
    const { clock, network, near, far } = await open(seed);
    const over = { near: false, far: false };
    void near.closed.then(() => (over.near = true));
    void far.closed.then(() => (over.far = true));
    network.cutAll();
    await passTime(clock, 100);
    const early = `${over.near} ${over.far}`;
    await passTime(clock, 100_000);
    stories.add(`${early}, ${over.near} ${over.far}`);
  }
  expect(stories).toContain("true false, true false");
  expect(stories).toContain("false true, true true");
  expect(stories).toContain("false false, false false");
});

test("a channel opened after a cut may hear before the old one has said its last", async () => {
  const orders = new Set<string>();
  for (let seed = 1; seed <= 60; seed += 1) {
    const { clock, network, replicator, near, far, accepted } = await open(seed);
    const order: string[] = [];
    noteArrival(far, "old", order);
    await near.send([Buffer.from("old")]);
    network.cutAll();
    const next = await settle(clock, network.dialFrom(replicator)({ signal }));
    noteArrival(accepted[1]!, "new", order);
    await next.send([Buffer.from("new")]);
    await passTime(clock, 30_000);
    orders.add(order.join(" "));
  }
  expect(orders).toContain("new old");
  expect(orders).toContain("old new");
  expect(orders).toContain("new");
});

test("a stalled network loses nothing", async () => {
  const { clock, network, near, far } = await open(4);
  const heard = listenTo(far);
  listenTo(near);
  network.stall(5_000);
  await near.send([Buffer.from("a")]);
  await far.send([Buffer.from("b")]);
  await passTime(clock, 6_000);
  expect(heard.text()).toBe("a");
});

test("a process that died neither speaks nor hears; its peer learns of it, or does not", async () => {
  for (const parting of ["close", "reset", "silence"] as const) {
    const { clock, network, vault, near, far } = await open();
    const heard = listenTo(far);
    listenTo(near);
    let over = false;
    void near.closed.then(() => (over = true));
    vault.kill();
    network.part(vault, parting);
    await near.send([Buffer.from("a")]).catch(() => {});
    await passTime(clock, 10_000);
    expect(heard.text()).toBe("");
    expect(over).toBe(parting !== "silence");
  }
});

test("calls fail while nobody listens, while the network is down, and while the peer is revoked", async () => {
  const { clock, network, replicator, vault } = await open();
  const call = () => settle(clock, network.dialFrom(replicator)({ signal }));
  network.refuse(1_000);
  await expect(call()).rejects.toMatchObject({ code: "PEER_REFUSED" });
  await passTime(clock, 1_000);
  network.goDown(60_000);
  await expect(call()).rejects.toMatchObject({ code: "LINK_LOST" });
  await passTime(clock, 60_000);
  await call();
  vault.kill();
  await expect(call()).rejects.toMatchObject({ code: "LINK_LOST" });
});
