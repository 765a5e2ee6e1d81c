import { join } from "node:path";
import { type Clock, systemClock } from "../base/clock.ts";
import { KIB, MIB } from "../base/units.ts";
import { fixedExports, type NbdExport } from "./export.ts";
import { memoryExport } from "./memory-export.ts";
import { serveNbd } from "./server.ts";
import type { NbdServerIncident, NbdServerLimits } from "./server-options.ts";
import type { NbdServerTls } from "./server-tls.ts";
import { ScriptedClient } from "./test-hostile-client.ts";
import { scratchDirectory } from "./test-scratch.ts";

/** Size of the export that `served` shows. */
export const sizeBytes = MIB;

/** A clock whose sleeps end when the test says so. */
export function manualClock() {
  const sleeping: (() => void)[] = [];
  const sleep: Clock["sleep"] = (_durationMs, options) => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    sleeping.push(resolve);
    options?.signal?.addEventListener("abort", () => reject(options.signal?.reason));
    return promise;
  };
  const clock: Clock = { nowMs: () => 0, monotonicMs: () => 0, sleep };
  const tick = () => {
    for (const wake of sleeping.splice(0)) wake();
  };
  return { clock, tick };
}

/** A server with the exports "disk" and "twin" (64 KiB of fives, then zeroes), and a hand-written client connected to it. */
export async function served(
  options: {
    limits?: Partial<NbdServerLimits>;
    found?: Partial<NbdExport>;
    clock?: Clock;
    tls?: NbdServerTls;
  } = {},
) {
  await using stack = new AsyncDisposableStack();
  const scratch = stack.use(await scratchDirectory());
  const bytes = new Uint8Array(sizeBytes).fill(5, 0, 64 * KIB);
  const memory = memoryExport(bytes, { description: "a disk" });
  const found = { ...memory, ...options.found };
  const exports = fixedExports(
    new Map([
      ["disk", found],
      ["twin", found],
    ]),
  );
  const incidents: NbdServerIncident[] = [];
  const server = stack.use(
    await serveNbd({
      listen: { path: join(scratch.path, "s") },
      exports,
      ...(options.tls === undefined ? {} : { tls: options.tls }),
      limits: { shutdownMs: 100, ...options.limits },
      clock: options.clock ?? systemClock(),
      report: (incident) => incidents.push(incident),
    }),
  );
  const client = stack.use(await ScriptedClient.connect(server.address));
  const held = stack.move();
  return { server, client, bytes, incidents, [Symbol.asyncDispose]: () => held.disposeAsync() };
}
