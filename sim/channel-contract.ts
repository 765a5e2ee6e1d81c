import { expect, test } from "vitest";
import type { Channel } from "../src/core/channel.ts";

/** Two ends of one channel under test. */
export interface ChannelHarness extends AsyncDisposable {
  readonly near: Channel;
  readonly far: Channel;
  /** Resolves with the promise, letting virtual time pass meanwhile where there is such. */
  settle<Value>(promise: Promise<Value>): Promise<Value>;
}

const KIB = 1024;

/** What every implementation of `Channel` has to do; called at the top of a test file. */
export function channelContract(name: string, open: () => Promise<ChannelHarness>): void {
  test(`${name} delivers bytes in order, whatever they were cut into`, async () => {
    await using harness = await open();
    const { near, far } = harness;
    near.receive(() => null);
    const arrived = gather(far, 300 * KIB);
    const sent = Buffer.from(Array.from({ length: 300 * KIB }, (_, index) => index % 251));
    const sending = (async () => {
      await near.send([sent.subarray(0, 1), sent.subarray(1, 3)]);
      await near.send([sent.subarray(3, 3), sent.subarray(3, 200_000)]);
      await near.send([sent.subarray(200_000)]);
    })();
    await harness.settle(sending);
    expect(Buffer.compare(await harness.settle(arrived), sent)).toBe(0);
    expect(near.sentBytes).toBeGreaterThanOrEqual(sent.length);
    expect(far.receivedBytes).toBeGreaterThanOrEqual(sent.length);
  });

  test(`${name} goes both ways`, async () => {
    await using harness = await open();
    const { near, far } = harness;
    const [there, back] = [gather(far, 3), gather(near, 3, { isBorrowed: true })];
    await harness.settle(
      Promise.all([near.send([Buffer.from("abc")]), far.send([Buffer.from("xyz")])]),
    );
    expect(String(await harness.settle(there))).toBe("abc");
    expect(String(await harness.settle(back))).toBe("xyz");
  });

  test(`${name} delivers what was sent before it was disposed, then tells the peer`, async () => {
    await using harness = await open();
    const { near, far } = harness;
    near.receive(() => null);
    const arrived = gather(far, 4);
    await harness.settle(near.send([Buffer.from("last")]));
    await near[Symbol.asyncDispose]();
    expect(await harness.settle(near.closed)).toBeNull();
    expect(String(await harness.settle(arrived))).toBe("last");
    expect((await harness.settle(far.closed))?.code).toBe("LINK_LOST");
    await expect(harness.settle(far.send([Buffer.from("x")]))).rejects.toMatchObject({
      code: "LINK_LOST",
    });
    await expect(near.send([Buffer.from("x")])).rejects.toMatchObject({ code: "LINK_LOST" });
  });

  test(`${name} hands nothing over while the taker is busy, and in the end the sender waits`, async () => {
    await using harness = await open();
    const { near, far } = harness;
    near.receive(() => null);
    let takes = 0;
    let go: () => void = () => {};
    const taken = new Promise<void>((resolve) => {
      far.receive(() => {
        takes += 1;
        if (takes > 1) return null;
        resolve();
        return new Promise<void>((free) => {
          go = free;
        });
      });
    });
    const part = Buffer.alloc(64 * KIB);
    let sent = 0;
    const sending = (async () => {
      // More than any buffers between two sites hold.
      for (; sent < 1000; sent += 1) await near.send([part]);
    })();
    await harness.settle(taken);
    expect(takes).toBe(1);
    expect(sent).toBeLessThan(1000);
    go();
    await harness.settle(sending);
    expect(takes).toBeGreaterThan(1);
  });
}

function gather(
  channel: Channel,
  lengthBytes: number,
  options?: { readonly isBorrowed: boolean },
): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  let sum = 0;
  return new Promise((resolve) => {
    channel.receive((bytes) => {
      parts.push(Buffer.from(bytes));
      sum += bytes.length;
      if (sum >= lengthBytes) resolve(Buffer.concat(parts));
      return null;
    }, options);
  });
}
