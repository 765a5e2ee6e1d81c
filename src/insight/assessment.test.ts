import { describe, expect, test } from "vitest";
import { virtualClock } from "../../sim/clock.ts";
import { MIB } from "../base/units.ts";
import type { ChangeCounter } from "../core/change-counter.ts";
import type { DiskName, MachineName } from "../core/ids.ts";
import { assess } from "./assessment.ts";
import { sizeTargets, summarize } from "./sizing.ts";
import { StretchSamples } from "./stretch-samples.ts";

const names = { data: "db/data" as DiskName, web: "web/root" as DiskName };
const db = "db" as MachineName;
const web = "web" as MachineName;

/** Guests that write at a rate, `db` drawn from a set that fills up, and counters that see unique bytes. */
class Guests implements ChangeCounter {
  readonly clock = virtualClock();
  readonly #beganAtMs = new Map<string, number>();
  readonly steps: string[] = [];
  setBytes = 2 ** 40;
  bytesPerSecond = MIB;
  readMs = 0;
  isWebThere = () => true;
  reads = 0;
  isDisposed = false;

  async start(counters: readonly string[]) {
    for (const counter of counters) this.#beganAtMs.set(counter, this.clock.monotonicMs());
    this.steps.push(`start ${counters.join(" ")}`);
    return { removed: ["db: bitmap of yesterday"] };
  }

  async read() {
    this.reads += 1;
    if (this.readMs > 0) await this.clock.sleep(this.readMs);
    const nowMs = this.clock.monotonicMs();
    const since = [...this.#beganAtMs].map(
      ([counter, ms]) => [counter, (nowMs - ms) / 1000] as const,
    );
    const unique = (seconds: number) =>
      this.setBytes * (1 - Math.exp((-seconds * this.bytesPerSecond) / this.setBytes));
    const data = new Map(since.map(([counter, seconds]) => [counter, unique(seconds)]));
    const root = new Map(since.map(([counter, seconds]) => [counter, seconds * 1024]));
    const told = [{ disk: names.data, sizeBytes: 100 * MIB, uniqueBytes: data }];
    if (this.isWebThere()) told.push({ disk: names.web, sizeBytes: 50 * MIB, uniqueBytes: root });
    return told;
  }

  async restart(counter: string) {
    this.#beganAtMs.set(counter, this.clock.monotonicMs());
    this.steps.push(`restart ${counter}`);
  }

  async [Symbol.asyncDispose]() {
    this.isDisposed = true;
  }
}

async function watched(guests: Guests, forSeconds: number, signal = new AbortController().signal) {
  const { clock } = guests;
  let isOver = false;
  const machines = [db, web];
  const disks = [names.data, names.web];
  const seconds = { forSeconds, everySeconds: 10 };
  const watching = assess({ counter: guests, machines, disks, ...seconds, clock, signal });
  watching
    .finally(() => {
      isOver = true;
    })
    .catch(() => {});
  while (!isOver) {
    await new Promise((resolve) => setImmediate(resolve));
    if (!isOver) clock.advance();
  }
  return await watching;
}

describe("an assessment", () => {
  test("sees stretches of each length with three counters that begin anew, and one that does not", async () => {
    const guests = new Guests();
    const { group, machines, removed, looks } = await watched(guests, 1200);
    const counts = group.stretches.map(({ seconds, samples }) => [seconds, samples.count]);
    expect(counts).toEqual([
      ...[
        [1, 120],
        [2, 120],
        [5, 120],
        [10, 120],
      ],
      ...[
        [30, 20],
        [60, 20],
        [300, 2],
        [600, 2],
      ],
    ]);
    for (const { seconds, samples } of machines[0]?.stretches ?? []) {
      expect(samples.meanBytes / (seconds * MIB)).toBeCloseTo(1, 2);
    }
    expect(group.sizeBytes).toBe(150 * MIB);
    expect((group.uniqueBytes ?? 0) / (1200 * (MIB + 1024))).toBeCloseTo(1, 2);
    expect(guests.steps.filter((step) => step === "restart short")).toHaveLength(120);
    expect(guests.steps[0]).toBe("start short middle long whole");
    expect(looks).toBe(480);
    expect(removed).toEqual(["db: bitmap of yesterday"]);
  });

  test("sees a hot set bend the curve", async () => {
    const guests = new Guests();
    guests.setBytes = 20 * MIB;
    guests.bytesPerSecond = 10 * MIB;
    const { machines } = await watched(guests, 600);
    const curve = new Map(
      machines[0]?.stretches.map(({ seconds, samples }) => [seconds, samples.meanBytes / MIB]),
    );
    expect(curve.get(1)).toBeCloseTo(7.87, 1);
    expect(curve.get(10)).toBeCloseTo(19.87, 1);
    expect(curve.get(600)).toBeCloseTo(20, 1);
  });

  test("a look that comes too late tells nothing of the stretch it was meant for", async () => {
    const guests = new Guests();
    guests.readMs = 600;
    const { group } = await watched(guests, 60);
    // The first second is seen after 1.6 s; every later counter begins as late as it is looked at.
    const counts = new Map(group.stretches.map(({ seconds, samples }) => [seconds, samples.count]));
    expect(counts.get(1)).toBe(5);
    expect(counts.get(10)).toBe(6);
  });

  test("what a machine that was away missed is in no sample, its own nor the group's", async () => {
    const guests = new Guests();
    const awayFromMs = guests.clock.monotonicMs() + 12_000;
    guests.isWebThere = () => {
      const nowMs = guests.clock.monotonicMs();
      return nowMs < awayFromMs || nowMs > awayFromMs + 5000;
    };
    const { group, machines, incompleteLooks } = await watched(guests, 60);
    const of = (record: typeof group, length: number) =>
      record.stretches.find(({ seconds }) => seconds === length)?.samples.count;
    expect(of(machines[0]!, 10)).toBe(6);
    expect(of(machines[1]!, 10)).toBe(5);
    expect(of(group, 10)).toBe(5);
    expect(of(group, 60)).toBeUndefined();
    expect(incompleteLooks).toBeGreaterThan(0);
    expect(group.uniqueBytes).toBeNull();
    expect(machines[0]?.uniqueBytes).not.toBeNull();
  });

  test("stopped early it tells what it saw", async () => {
    const guests = new Guests();
    const stop = new AbortController();
    const endMs = guests.clock.monotonicMs() + 25_000;
    guests.isWebThere = () => {
      if (guests.clock.monotonicMs() > endMs) stop.abort(new Error("enough"));
      return true;
    };
    const { seconds, group } = await watched(guests, 86_400, stop.signal);
    expect(seconds).toBeLessThan(40);
    expect(group.stretches.map((stretch) => stretch.seconds)).toContain(10);
  });
});

test("where no machine runs there is nothing to watch", async () => {
  const guests = new Guests();
  guests.isWebThere = () => false;
  const nobody: ChangeCounter = {
    start: (counters) => guests.start(counters),
    read: async () => [],
    restart: (counter) => guests.restart(counter),
    [Symbol.asyncDispose]: () => guests[Symbol.asyncDispose](),
  };
  const options = { machines: [db], disks: [names.data], forSeconds: 60, everySeconds: 10 };
  const { clock } = guests;
  const { signal } = new AbortController();
  const watching = assess({ ...options, counter: nobody, clock, signal });
  await expect(watching).rejects.toMatchObject({ code: "QMP_MISSING" });
});

describe("sizing", () => {
  const none = { retention: { pointsMax: null, ageSeconds: null }, link: null };

  test("names average, p95 and peak, and sizes link and journal for targets that were seen far enough", async () => {
    const guests = new Guests();
    const { machines } = await watched(guests, 60);
    const summary = summarize(machines[0]!, "erp/db", 10);
    expect(summary.averageBytesPerSecond / MIB).toBeCloseTo(1, 2);
    expect(summary.peakBytesPerSecond / MIB).toBeCloseTo(1, 2);
    const targets = sizeTargets(summary, none);
    expect(targets.map(({ targetRpoSeconds }) => targetRpoSeconds)).toEqual([
      1, 2, 5, 10, 15, 30, 60,
    ]);
    const [, , five] = targets;
    expect((five?.linkBytesPerSecond ?? 0) / MIB).toBeCloseTo(1.3 * 1.08, 0);
    expect((five?.journalBytesPerDay ?? 0) / MIB).toBeCloseTo(86_400, -2);
    expect(five?.journalBytes).toBeNull();
    expect(five?.verdict).toBeNull();
  });

  test("says what the retention comes to, the tighter of the two, and what a link that was named gives", async () => {
    const guests = new Guests();
    const { machines } = await watched(guests, 60);
    const summary = summarize(machines[0]!, "erp/db", 10);
    const link = { bytesPerSecond: MIB / 2, roundTripSeconds: 0.01 };
    const retention = { pointsMax: 100, ageSeconds: 86_400 };
    const [one] = sizeTargets(summary, { retention, link });
    const { intervalSeconds = 0, journalBytes } = one ?? {};
    expect((journalBytes ?? 0) / MIB).toBeCloseTo(100 * intervalSeconds, 0);
    expect(one?.verdict).toMatchObject({ kind: "lesser", rpoSeconds: Number.POSITIVE_INFINITY });
  });

  test("with nothing seen there is nothing to size", () => {
    const summary = summarize(
      { machine: null, sizeBytes: 0, stretches: [], uniqueBytes: 0 },
      "erp",
      10,
    );
    expect(summary.averageBytesPerSecond).toBe(0);
    expect(sizeTargets(summary, none)).toEqual([]);
  });
});

test("quantiles are right to a twentieth, and never above what was seen", () => {
  const samples = new StretchSamples();
  expect(samples.quantileBytes(0.5)).toBe(0);
  for (let number = 1; number <= 1000; number += 1) samples.add(number * 65_536);
  for (const share of [0.01, 0.5, 0.95, 0.99]) {
    const exact = share * 1000 * 65_536;
    expect(samples.quantileBytes(share)).toBeGreaterThanOrEqual(exact * 0.9999);
    expect(samples.quantileBytes(share)).toBeLessThanOrEqual(exact * 1.051);
  }
  expect(samples.quantileBytes(1)).toBe(1000 * 65_536);
  for (let number = 0; number < 9000; number += 1) samples.add(0);
  expect(samples.quantileBytes(0.89)).toBe(0);
  expect(samples.meanBytes).toBeCloseTo(50.05 * 65_536, -3);
});
