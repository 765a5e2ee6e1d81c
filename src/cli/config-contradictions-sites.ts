import type { ConfigPath, Contradiction, IsGiven } from "./config-contradictions.ts";
import type { Config } from "./config-schema.ts";

/** A configuration is of one process (`vault`) or of two sites (`state`); keys of the other form mean nothing and are refused. */
export function sitesContradictions(config: Config, isGiven: IsGiven): readonly Contradiction[] {
  const { vault, state } = config;
  if (vault === undefined && state === undefined) {
    const message =
      "this key is missing (for one process), or `state` is (for two sites, made by `afterimage replicator join`)";
    return [{ path: ["vault"], message }];
  }
  if (vault !== undefined && state !== undefined) {
    const message =
      "`vault` is given beside it; with `vault` one process does it all, with `state` the vault is another site's";
    return [{ path: ["state"], message }];
  }
  const groupKeys = (key: string): ConfigPath[] =>
    config.groups.map((_, index) => ["groups", index, key]);
  const refused = (paths: readonly ConfigPath[], message: string) =>
    paths.filter(isGiven).map((path): Contradiction => ({ path, message }));
  if (vault !== undefined) {
    return refused(
      [["link"], ["spool"], ...groupKeys("link"), ...groupKeys("onStale")],
      "it belongs to two sites and needs `state` instead of `vault`",
    );
  }
  return refused(
    [["retention"], ...groupKeys("retention")],
    "at two sites the vault decides how long points stay: set it in vault.yaml there",
  );
}
