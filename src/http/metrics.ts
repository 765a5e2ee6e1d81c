import { Counter, Gauge, Histogram, Registry } from "prom-client";
import {
  type MetricEntry,
  type MetricName,
  type MetricSide,
  metricPrefix,
  metricTable,
} from "./metric-table.ts";

/** A label's values; numbers never. */
export type Labels = Readonly<Record<string, string>>;

/** One value as it is now. Of a counter: the running total, which never falls while the process lives. */
export interface Sample {
  readonly name: MetricName;
  readonly labels: Labels;
  readonly value: number;
}

/** Bounds of the histograms' buckets, in seconds. */
const bucketsSeconds = [0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800];

/**
 * The numbers of one process, in Prometheus' text format. Values are asked for at each scrape, so that nothing stale is told,
 * and what is not measured does not appear, because a zero would be a lie.
 */
export class Metrics {
  readonly contentType = Registry.PROMETHEUS_CONTENT_TYPE;
  readonly #side: MetricSide;
  readonly #read: () => Promise<readonly Sample[]>;
  readonly #histograms = new Map<MetricName, Histogram>();

  constructor(options: { side: MetricSide; read: () => Promise<readonly Sample[]> }) {
    this.#side = options.side;
    this.#read = options.read;
  }

  /** Enters a duration in a histogram. */
  observe(name: MetricName, labels: Labels, seconds: number): void {
    const found = this.#histograms.get(name);
    const histogram = found ?? new Histogram({ ...commonOf(name, []), buckets: bucketsSeconds });
    this.#histograms.set(name, histogram);
    histogram.observe({ ...labels }, seconds);
  }

  /** The text of one scrape. */
  async text(): Promise<string> {
    const registry = new Registry();
    for (const histogram of this.#histograms.values()) registry.registerMetric(histogram);
    const byName = Map.groupBy(await this.#read(), (sample) => sample.name);
    for (const [name, samples] of byName) {
      const { kind, sides }: MetricEntry = metricTable[name];
      if (!sides.includes(this.#side)) continue;
      if (kind === "counter") {
        const counter = new Counter(commonOf(name, [registry]));
        for (const { labels, value } of samples) counter.inc({ ...labels }, value);
      } else {
        const gauge = new Gauge(commonOf(name, [registry]));
        for (const { labels, value } of samples) gauge.set({ ...labels }, value);
      }
    }
    return registry.metrics();
  }
}

function commonOf(name: MetricName, registers: Registry[]) {
  const { help, labels }: MetricEntry = metricTable[name];
  return { name: `${metricPrefix}${name}`, help, labelNames: [...labels], registers };
}
