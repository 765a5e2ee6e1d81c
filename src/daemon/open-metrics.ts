import type { Config } from "../cli/config-schema.ts";
import { serveMetrics } from "../http/metrics-server.ts";
import type { EventLog } from "./event-log.ts";
import type { ReplicatorMetrics } from "./replicator-metrics.ts";

/** Serves `/metrics` where the configuration says so. CONFIG_INVALID when it cannot listen there. */
export async function openMetrics(
  opened: AsyncDisposableStack,
  options: { config: Config; metrics: ReplicatorMetrics; log: EventLog },
): Promise<void> {
  const { config, metrics, log } = options;
  if (config.metrics === undefined) return;
  const onError = (error: unknown) =>
    log.note("warn", "The metrics could not be read.", { cause: String(error) });
  const server = opened.use(
    await serveMetrics({ ...config.metrics, metrics: metrics.metrics, onError }),
  );
  log.note("info", "Serving metrics.", { host: server.host, port: server.port });
}
