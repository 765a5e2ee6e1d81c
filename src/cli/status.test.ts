import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "../base/clock.ts";
import { nodeFileSystem } from "../base/node-file-system.ts";
import { serveControl } from "../control/server.ts";
import type { GroupTelemetry } from "../control/telemetry.ts";
import type { WriterState } from "../control/writer-state.ts";
import { controlSocket } from "../journal/vault-layout.ts";
import { identitiesForTest } from "../tls/identity-for-test.ts";
import { type ReplicatorRecord, writeReplicatorRecord } from "../tls/replicator-state.ts";
import { command, commandJson, startCommand } from "./command-for-test.ts";
import { recordedTerminal } from "./terminal.ts";

const sinceMs = Date.parse("2026-11-21T10:00:00Z");
const telemetry: GroupTelemetry = {
  rpoSeconds: 71,
  targetRpoSeconds: 15,
  rpoQuantiles: { p50: 4, p95: 9, p99: 70, windowSeconds: 600 },
  lagSeconds: 0.5,
  newest: { id: "0123456789abcdef", sequence: 12, takenAtMs: sinceMs, currentAtMs: null },
  backlog: { points: 3, bytes: 3 * 2 ** 20 },
  etaSeconds: 9,
  interval: { seconds: 4, reason: "changes gather faster" },
  way: "spool",
  sync: null,
  totals: {
    points: 12,
    dirtyBytes: 100,
    readBytes: 100,
    dataBytes: 100,
    zeroBytes: 0,
    storedBytes: 25,
    missedIntervals: 0,
  },
};
const state: WriterState = {
  pid: 77,
  startedAtMs: sinceMs,
  role: "replicator",
  link: {
    address: "192.0.2.7:7420",
    isUp: false,
    sinceSeconds: 65,
    roundTripMs: 51.4,
    bytesPerSecond: null,
    bytesPerSecondMax: 2 ** 20,
    clock: { offsetMs: -12, errorMs: 26 },
    sentBytes: 2 ** 30,
    receivedBytes: 2 ** 20,
    resentBytes: 0,
  },
  alarms: [
    {
      code: "LINK_LOST",
      severity: "alarm",
      group: null,
      cause: "the link to the vault is down",
      nextStep: "Check the network.",
      sinceMs,
    },
  ],
  groups: [
    { name: "erp", state: "replicating", trouble: "it hurts — do something", telemetry },
    { name: "mail", state: "starting", trouble: null },
  ],
};
const site = await identitiesForTest();
const identity: ReplicatorRecord = {
  ...site.replicator,
  id: site.replicatorHolder.id,
  name: "protected",
  vaultId: site.vaultId,
  invitation: "00000000000000cc",
  addresses: [{ host: "192.0.2.7", port: 7420 }],
  authorityPem: site.authority.certificatePem,
};

let directory: string;
const serve = () =>
  serveControl({ path: controlSocket(directory), clock: systemClock(), handle: async () => state });

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "afterimage-status-"));
  await writeReplicatorRecord(nodeFileSystem(), directory, identity);
});
afterEach(() => rm(directory, { recursive: true, force: true }));

describe("a replicator", () => {
  test("that runs: alarms with their next step first, then link and groups", async () => {
    await using _server = await serve();
    const { stdout } = await command("status", directory);
    const lines = stdout.split("\n");
    expect(lines[0]).toMatch(/^Replicator protected in .*192\.0\.2\.7:7420.*process 77/);
    expect(lines[1]).toMatch(/^ALARM +LINK_LOST: the link to the vault is down \(since 2026/);
    expect(lines[2]).toBe("        → Check the network.");
    expect(lines[3]).toMatch(/DOWN for 1 min 5 s; round trip 51\.4 ms; .*cap 1\.00 MiB\/s/);
    expect(lines[3]).toMatch(/-12 ms ± 26 ms apart; on the wire: 1\.00 GiB sent/);
    expect(stdout).toMatch(/erp +replicating +#12 +1 min 11 s +15\.0 s +4\.0 s \/ 9\.0 s \/ 1 min/);
    expect(stdout).toMatch(/3\.00 MiB in 3 +9\.0 s +spool +25 %/);
    expect(stdout).toContain("erp: a point each 4.0 s: changes gather faster");
    expect(stdout).toContain("! erp: it hurts");
  });
  test("as JSON has the same facts and no secret", async () => {
    await using _server = await serve();
    const status = await commandJson("status", directory);
    expect(status).toMatchObject({
      replicator: { name: "protected", id: site.replicatorHolder.id },
      process: { pid: 77, link: { isUp: false } },
      alarms: [{ code: "LINK_LOST" }],
    });
    expect(JSON.stringify(status)).not.toContain("PRIVATE KEY");
  });
  test("that does not run says what to do", async () => {
    const { stdout, exitCode } = await command("status", directory);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/it does not run\.\n! .*afterimage replicator serve/);
  });
});

describe("--watch", () => {
  /** A clock whose seconds pass at once, and that interrupts after so many looks. */
  function looks(count: number, isOutInteractive: boolean) {
    const interrupted = new AbortController();
    const terminal = { ...recordedTerminal(), isOutInteractive };
    const clock = systemClock();
    let slept = 0;
    const context = {
      terminal,
      signal: interrupted.signal,
      clock: {
        ...clock,
        sleep: async (durationMs: number, options?: { signal?: AbortSignal }) => {
          if (durationMs > 1000) return clock.sleep(durationMs, options); // The bound of an answer.
          slept += 1;
          if (slept >= count) interrupted.abort(new Error("interrupted"));
          options?.signal?.throwIfAborted();
        },
      },
    };
    return { context, terminal };
  }

  test("appends one line of JSON a second, and an interruption is a good end", async () => {
    await using _server = await serve();
    const { context, terminal } = looks(3, true);
    const running = startCommand(["status", directory, "--watch", "--json"], { context });
    expect(await running.exitCode).toBe(0);
    const lines = terminal.stdout().trimEnd().split("\n");
    expect(lines.map((line) => JSON.parse(line).process.pid)).toEqual([77, 77, 77]);
  });
  test("draws the screen anew on a terminal, and nowhere else", async () => {
    await using _server = await serve();
    for (const isOutInteractive of [true, false]) {
      const { context, terminal } = looks(2, isOutInteractive);
      const running = startCommand(["status", directory, "--watch"], { context });
      expect(await running.exitCode).toBe(0);
      expect(terminal.stdout().split("\u001b[H\u001b[2J")).toHaveLength(isOutInteractive ? 3 : 1);
      expect(terminal.stdout().match(/Replicator protected/g)).toHaveLength(2);
    }
  });
});
