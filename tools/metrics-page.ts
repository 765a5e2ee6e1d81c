import { type MetricEntry, metricPrefix, metricTable } from "../src/http/metric-table.ts";

/** docs/operating/metrics.md, made from the table of metrics. */
export function metricsPage(): string {
  const rows = Object.entries<MetricEntry>(metricTable).map(([name, entry]) => {
    const labels = entry.labels.map((label) => `\`${label}\``).join(", ");
    const sides = entry.sides.join(", ");
    return `| \`${metricPrefix}${name}\` | ${entry.kind} | ${labels} | ${sides} | ${entry.help} |`;
  });
  return `# Metrics

Made from \`src/http/metric-table.ts\` by \`npx node tools/write-docs.ts\`; do not edit.

Both sides serve Prometheus' text format at \`/metrics\` when the configuration says where: \`metrics: 127.0.0.1:9641\` in the
replicator's configuration and in the vault's \`vault.yaml\`. Only addresses of the host itself are taken, because there is no
password or encryption there yet; a Prometheus elsewhere needs an agent or a tunnel on this host. \`afterimage up\` tells what
the replicator tells, as far as it has the thing.

What is not measured is not there: a missing series means "not known", never zero. Counters count since the process started.
\`alerts.yaml\` beside this page has alert rules that use these names.

| Name | Kind | Labels | Told by | Meaning |
|---|---|---|---|---|
${rows.join("\n")}
`;
}
