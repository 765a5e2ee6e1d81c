import { formatBytes, formatSeconds } from "../src/base/units.ts";
import { formatTable } from "../src/cli/table.ts";
import type { Check } from "./checks.ts";
import type { Outcome } from "./play.ts";
import type { CycleFacts } from "./replicator.ts";

/** The facts that `--json` prints as the last line. */
export function jsonOf(outcome: Outcome) {
  const { points, rpoSeconds, newest, older, rowsAcknowledged, checks } = outcome;
  return {
    pass: isPass(checks),
    points,
    bytesChanged: sum(outcome.cycles, "dirtyBytes"),
    bytesRead: sum(outcome.cycles, "readBytes"),
    bytesStored: sum(outcome.cycles, "storedBytes"),
    rpoSeconds,
    rtoSeconds: { newest: newest.rtoSeconds, older: older.rtoSeconds },
    rowsAcknowledged,
    rowsRecovered: newest.state.rows,
    checks,
  };
}

/** The same for a demo that could not be played to its end. */
export function jsonOfFailure(reason: string) {
  const check = { name: "the demo ran to its end", pass: false, detail: reason };
  return {
    pass: false,
    points: 0,
    bytesChanged: 0,
    bytesRead: 0,
    bytesStored: 0,
    rpoSeconds: null,
    rtoSeconds: { newest: null, older: null },
    rowsAcknowledged: 0,
    rowsRecovered: 0,
    checks: [check],
  };
}

/** The facts as a table for people, with the verdict as the last line. */
export function textOf(outcome: Outcome): string {
  const { cycles, newest, older, checks } = outcome;
  const worstRpoSeconds = Math.max(...cycles.slice(1).map(({ rpoSeconds }) => rpoSeconds));
  const lost = `${outcome.rowsAfterNewest} rows committed after the newest point went with production`;
  const facts = [
    ["points sealed", `${outcome.points}`],
    ["changed / read / stored", bytesOf(cycles)],
    ["RPO of this disaster", `${formatSeconds(outcome.rpoSeconds)} (${lost})`],
    ["RPO at worst", `${formatSeconds(worstRpoSeconds)} (just before a seal)`],
    ...[newest, older].map((boot) => [
      `RTO of the ${boot.label} point, #${boot.sequence}`,
      `${formatSeconds(boot.rtoSeconds)} until PostgreSQL answered, with ${boot.state.rows} rows`,
    ]),
  ];
  const failed = checks.filter(({ pass }) => !pass);
  return [
    formatTable([{ title: "THE MAIN JOB" }, { title: "" }], facts),
    "",
    ...checks.map(({ name, pass, detail }) => `${pass ? "ok  " : "FAIL"}  ${name}: ${detail}`),
    "",
    failed.length === 0 ? "PASS" : `FAIL: ${failed.map(({ name }) => name).join("; ")}`,
  ].join("\n");
}

/** Whether everything the demo claims held. */
export function isPass(checks: readonly Check[]): boolean {
  return checks.length > 0 && checks.every(({ pass }) => pass);
}

function bytesOf(cycles: readonly CycleFacts[]): string {
  const keys = ["dirtyBytes", "readBytes", "storedBytes"] as const;
  return keys.map((key) => formatBytes(sum(cycles, key))).join(" / ");
}

function sum(cycles: readonly CycleFacts[], key: "dirtyBytes" | "readBytes" | "storedBytes") {
  return cycles.reduce((total, cycle) => total + cycle[key], 0);
}
