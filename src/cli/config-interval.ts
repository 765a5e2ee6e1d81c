import type { Config, ConfigGroup } from "./config-schema.ts";

/** How a group's points follow each other. */
export type ConfigInterval =
  | { readonly kind: "fixed"; readonly intervalSeconds: number }
  | {
      readonly kind: "target";
      readonly targetRpoSeconds: number;
      readonly intervalMinSeconds: number;
      readonly intervalMaxSeconds: number;
    };

/** What the configuration asks of a group: its own keys first, then those at the top. */
export function intervalOf(config: Config, group: ConfigGroup): ConfigInterval {
  const own = group.intervalSeconds !== undefined || group.targetRpoSeconds !== undefined;
  const { intervalSeconds, targetRpoSeconds } = own ? group : config;
  if (targetRpoSeconds === undefined) {
    return { kind: "fixed", intervalSeconds: intervalSeconds ?? 10 };
  }
  const intervalMinSeconds = group.intervalMinSeconds ?? config.intervalMinSeconds;
  const longestSeconds = group.intervalMaxSeconds ?? config.intervalMaxSeconds;
  const intervalMaxSeconds = Math.max(
    intervalMinSeconds,
    Math.min(longestSeconds, targetRpoSeconds),
  );
  return { kind: "target", targetRpoSeconds, intervalMinSeconds, intervalMaxSeconds };
}
