import { expect, test } from "vitest";
import { type MetricEntry, type MetricName, metricPrefix, metricTable } from "./metric-table.ts";
import { Metrics, type Sample } from "./metrics.ts";
import { parseMetrics } from "./parse-metrics-for-test.ts";

const entries = Object.entries<MetricEntry>(metricTable) as [MetricName, MetricEntry][];

/** One sample of everything a side has. */
function samplesOf(side: "replicator" | "vault"): readonly Sample[] {
  return entries
    .filter(([, entry]) => entry.kind !== "histogram" && entry.sides.includes(side))
    .map(([name, { labels }], index) => ({
      name,
      labels: Object.fromEntries(labels.map((label) => [label, `a "${label}"\n\\`])),
      value: index + 0.5,
    }));
}

test.each(["replicator", "vault"] as const)(
  "everything that a %s may tell reads back",
  async (side) => {
    const samples = samplesOf(side);
    const metrics = new Metrics({ side, read: async () => samples });
    metrics.observe("cycle_duration_seconds", { group: "erp", phase: "read" }, 0.3);
    const families = parseMetrics(await metrics.text());
    for (const { name, labels, value } of samples) {
      const family = families.get(`${metricPrefix}${name}`);
      expect(family, name).toMatchObject({
        type: metricTable[name].kind,
        samples: [{ labels, value }],
      });
    }
    const cycles = families.get("afterimage_cycle_duration_seconds");
    expect(cycles?.samples.find(({ name }) => name.endsWith("_count"))?.value).toBe(1);
    expect(families.size).toBe(samples.length + 1);
  },
);

test("names and meanings keep the rules that promtool checks", () => {
  for (const [name, { kind, help, labels }] of entries) {
    expect(name, name).toMatch(/^[a-z][a-z_]*[a-z]$/);
    expect(name.endsWith("_total"), name).toBe(kind === "counter");
    expect(name, name).not.toMatch(/_(ms|milliseconds|minutes|hours|kb|mb|kib|mib|percent)(_|$)/);
    expect(help, name).toMatch(/\.$/);
    expect(labels, name).not.toContain("le");
    if (kind === "histogram") expect(name).toMatch(/_seconds$/);
    const unit = /(seconds|bytes)/.exec(name)?.[1];
    if (unit !== undefined) expect(help.toLowerCase(), name).toContain(unit);
  }
});

test("what is not measured does not appear, and a value that went away goes", async () => {
  let samples: readonly Sample[] = [{ name: "link_round_trip_seconds", labels: {}, value: 0.05 }];
  const metrics = new Metrics({ side: "replicator", read: async () => samples });
  expect(await metrics.text()).toContain("afterimage_link_round_trip_seconds 0.05");
  samples = [];
  expect(await metrics.text()).toBe("\n");
});

test("a counter tells the total, however often it is asked", async () => {
  const samples: Sample[] = [{ name: "sent_bytes_total", labels: {}, value: 10 }];
  const metrics = new Metrics({ side: "replicator", read: async () => samples });
  await metrics.text();
  expect(await metrics.text()).toContain("afterimage_sent_bytes_total 10\n");
});

test("a side tells nothing that is the other's", async () => {
  const samples: Sample[] = [{ name: "source_silent", labels: { group: "erp" }, value: 1 }];
  const metrics = new Metrics({ side: "replicator", read: async () => samples });
  expect(await metrics.text()).not.toContain("source_silent");
});
