import { describe, expect, test } from "vitest";
import { virtualClock } from "../../sim/clock.ts";
import { Fault } from "../base/fault.ts";
import { MIB } from "../base/units.ts";
import {
  lookEveryMs,
  type PacedReadsOptions,
  pacedReads,
  type ReadsOutlook,
  readFloorBytesPerSecond,
} from "./pace-reads.ts";

const { signal } = new AbortController();
const storageBytesPerSecond = 400 * MIB;
const guestWritesPerSecond = 500;

/** A reader that reads as fast as it is let, storage that takes its time, and a guest whose writes suffer from it. */
class Production {
  readonly clock = virtualClock();
  readonly told: ReadsOutlook[] = [];
  readonly source = { guestWrites: () => Promise.resolve(this.#writes()) };
  readonly pace;
  /** What a write takes while so much is read a second. */
  latencyMsAt = (_readBytesPerSecond: number) => 1;
  isAsked = true;
  asked = 0;
  readBytes = 0;
  #readsMs: { readonly atMs: number; readonly bytes: number }[] = [];
  #operations = 0;
  #totalTimeNs = 0;
  #countedAtMs = 0;

  constructor(options: Partial<PacedReadsOptions> = {}) {
    const none = { bytesPerSecondMax: null, operationsPerSecondMax: null };
    this.pace = pacedReads({
      ...{ clock: this.clock, source: this.source, ...none, guestWriteLatencyMaxMs: null },
      onChange: (outlook) => this.told.push(outlook),
      ...options,
    });
  }

  /** Reads for so long; resolves to the bytes read per second in the last half of it. */
  async read(forSeconds: number, lengthBytes = MIB): Promise<number> {
    const startMs = this.clock.monotonicMs();
    const endMs = startMs + forSeconds * 1000;
    let lateBytes = 0;
    let isOver = false;
    const reading = (async () => {
      while (this.clock.monotonicMs() < endMs) {
        await this.pace.admit(lengthBytes, signal);
        await this.clock.sleep((lengthBytes / storageBytesPerSecond) * 1000);
        this.#count();
        this.#readsMs.push({ atMs: this.clock.monotonicMs(), bytes: lengthBytes });
        this.readBytes += lengthBytes;
        if (this.clock.monotonicMs() > (startMs + endMs) / 2) lateBytes += lengthBytes;
      }
      isOver = true;
    })();
    while (!isOver) {
      await new Promise((resolve) => setImmediate(resolve));
      if (!isOver) this.clock.advance();
    }
    await reading;
    return lateBytes / (forSeconds / 2);
  }

  rest(forSeconds: number): void {
    for (let step = 0; step < forSeconds * 10; step += 1) {
      this.clock.advanceBy(100);
      this.#count();
    }
  }

  #writes() {
    this.asked += 1;
    this.#count();
    const bytes = this.#operations * 4096;
    return this.isAsked
      ? { operations: this.#operations, bytes, totalTimeNs: this.#totalTimeNs }
      : null;
  }

  /** The guest's writes up to now, each taking what reading over the last tenth of a second costs it. */
  #count(): void {
    const nowMs = this.clock.monotonicMs();
    this.#readsMs = this.#readsMs.filter(({ atMs }) => atMs > nowMs - 100);
    const bytes = this.#readsMs.reduce((sum, read) => sum + read.bytes, 0);
    const operations = ((nowMs - this.#countedAtMs) / 1000) * guestWritesPerSecond;
    this.#operations += operations;
    this.#totalTimeNs += operations * this.latencyMsAt(bytes * 10) * 1e6;
    this.#countedAtMs = nowMs;
  }
}

describe("caps", () => {
  test("bytes are held to their cap over any stretch", async () => {
    const production = new Production({ bytesPerSecondMax: 50 * MIB, source: null });
    expect(await production.read(10)).toBeLessThanOrEqual(51 * MIB);
    expect(production.readBytes).toBeGreaterThan(10 * 48 * MIB);
  });

  test("operations are held to their cap, however small", async () => {
    const production = new Production({ operationsPerSecondMax: 200, source: null });
    const bytesPerSecond = await production.read(10, 4096);
    expect(bytesPerSecond / 4096).toBeLessThanOrEqual(201);
    expect(bytesPerSecond / 4096).toBeGreaterThan(190);
  });

  test("nothing is held where there is no cap and nobody suffers", async () => {
    const production = new Production();
    production.rest(2);
    expect(await production.read(10)).toBeGreaterThan(0.9 * storageBytesPerSecond);
    expect(production.told).toEqual([]);
    expect(production.pace.outlook).toMatchObject({ heldToBytesPerSecond: null });
  });

  test("a reader that is told to stop while it waits stops at once", async () => {
    const production = new Production({ bytesPerSecondMax: 1, source: null });
    const stop = new AbortController();
    await production.pace.admit(MIB, stop.signal);
    const waiting = production.pace.admit(MIB, stop.signal);
    stop.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
  });
});

describe("guests that suffer", () => {
  const suffering = (readBytesPerSecond: number) => 1 + (readBytesPerSecond / (50 * MIB)) ** 2;

  test("are spared: reading slows down until their writes take at most three times as long as without it", async () => {
    const production = new Production();
    production.latencyMsAt = suffering;
    production.rest(2);
    await production.pace.admit(1, signal);
    production.rest(2);
    const bytesPerSecond = await production.read(60);
    // 71 MiB/s is where a write takes 3 ms.
    expect(bytesPerSecond).toBeLessThan(80 * MIB);
    expect(bytesPerSecond).toBeGreaterThan(25 * MIB);
    expect(production.told.length).toBeGreaterThan(2);
    expect(production.pace.outlook.baselineMs).toBeCloseTo(1, 0);
  });

  test("are spared though nobody knew their writes before the reading began", async () => {
    const production = new Production();
    production.latencyMsAt = suffering;
    const bytesPerSecond = await production.read(60);
    expect(bytesPerSecond).toBeLessThan(80 * MIB);
    expect(production.pace.outlook.baselineMs).toBeLessThan(4);
  });

  test("do not stop reading: it goes on at the floor", async () => {
    const production = new Production();
    production.latencyMsAt = (rate) => (rate > 0 ? 100 : 1);
    production.rest(2);
    await production.pace.admit(1, signal);
    production.rest(2);
    const bytesPerSecond = await production.read(60);
    expect(bytesPerSecond).toBeGreaterThan(0.9 * readFloorBytesPerSecond);
    expect(production.pace.outlook.heldToBytesPerSecond).toBe(readFloorBytesPerSecond);
  });

  test("have a bound of their own where one is configured", async () => {
    const production = new Production({ guestWriteLatencyMaxMs: 1.5 });
    production.latencyMsAt = suffering;
    // 35 MiB/s is where a write takes 1.5 ms.
    expect(await production.read(60)).toBeLessThan(40 * MIB);
  });

  test("who are well again let reading be as fast as before", async () => {
    const production = new Production();
    production.latencyMsAt = suffering;
    production.rest(2);
    await production.pace.admit(1, signal);
    production.rest(2);
    await production.read(20);
    production.latencyMsAt = () => 1;
    expect(await production.read(40)).toBeGreaterThan(0.9 * storageBytesPerSecond);
    expect(production.told.at(-1)?.heldToBytesPerSecond).toBeNull();
  });

  test("are not taken for suffering because their few writes are slow of themselves", async () => {
    const production = new Production();
    production.latencyMsAt = () => 30;
    production.rest(2);
    expect(await production.read(20)).toBeGreaterThan(0.9 * storageBytesPerSecond);
  });

  test("are asked no more often than a look, and a source that tells nothing holds nothing", async () => {
    const production = new Production();
    production.isAsked = false;
    expect(await production.read(20)).toBeGreaterThan(0.9 * storageBytesPerSecond);
    expect(production.asked).toBeLessThanOrEqual(20_000 / lookEveryMs + 2);
    const failing = {
      guestWrites: () => Promise.reject(new Fault("QMP_CLOSED", "it has gone")),
    };
    const other = new Production({ source: failing });
    expect(await other.read(5)).toBeGreaterThan(0.9 * storageBytesPerSecond);
  });
});
