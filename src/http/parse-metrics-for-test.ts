/** A family of Prometheus' text format, version 0.0.4. */
export interface MetricFamily {
  readonly name: string;
  readonly type: string;
  readonly help: string;
  readonly samples: readonly {
    readonly name: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly value: number;
  }[];
}

/** Reads a scrape strictly: what Prometheus would take with a shrug throws here. */
export function parseMetrics(text: string): ReadonlyMap<string, MetricFamily> {
  if (!text.endsWith("\n")) throw new Error("the last line has no end");
  const families = new Map<string, MetricFamily>();
  const seen = new Set<string>();
  let help: { name: string; text: string } | null = null;
  let current: MetricFamily | null = null;
  for (const line of text.slice(0, -1).split("\n")) {
    if (line === "") continue;
    const helped = /^# HELP (\S+) (.+)$/.exec(line);
    if (helped?.[1] !== undefined) {
      help = { name: helped[1], text: helped[2] ?? "" };
      continue;
    }
    const typed = /^# TYPE (\S+) (gauge|counter|histogram)$/.exec(line);
    if (typed?.[1] !== undefined) {
      const name = typed[1];
      if (help?.name !== name) throw new Error(`${name} has no help before its type`);
      if (families.has(name)) throw new Error(`${name} comes twice`);
      current = { name, type: typed[2] ?? "", help: help.text, samples: [] };
      families.set(name, current);
      continue;
    }
    const sample = /^([a-z_:][a-z0-9_:]*)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (sample?.[1] === undefined || current === null) throw new Error(`not understood: ${line}`);
    const suffixes = current.type === "histogram" ? ["_bucket", "_sum", "_count"] : [""];
    if (!suffixes.some((suffix) => sample[1] === `${current?.name}${suffix}`)) {
      throw new Error(`${sample[1]} stands in the family ${current.name}`);
    }
    const key = `${sample[1]}{${sample[2] ?? ""}}`;
    if (seen.has(key)) throw new Error(`${key} comes twice`);
    seen.add(key);
    const value = sample[3] === "+Inf" ? Number.POSITIVE_INFINITY : Number(sample[3]);
    if (Number.isNaN(value)) throw new Error(`${line}: no number`);
    const labels = labelsOf(sample[2] ?? "");
    families.set(current.name, {
      ...current,
      samples: [...current.samples, { name: sample[1], labels, value }],
    });
    current = families.get(current.name) ?? null;
  }
  return families;
}

function labelsOf(text: string): Readonly<Record<string, string>> {
  const labels: Record<string, string> = {};
  let rest = text;
  while (rest !== "") {
    const one = /^([a-z_]+)="((?:[^"\\]|\\["\\n])*)",?/.exec(rest);
    if (one?.[1] === undefined) throw new Error(`labels not understood: ${text}`);
    labels[one[1]] = (one[2] ?? "").replace(/\\(.)/g, (_, letter) =>
      letter === "n" ? "\n" : letter,
    );
    rest = rest.slice(one[0].length);
  }
  return labels;
}
