import { z } from "zod";
import { Fault } from "../../src/base/fault.ts";
import { MIB } from "../../src/base/units.ts";
import type { MachineConsole } from "../../src/qemu/machine-console.ts";
import type { MachineDefinition } from "../../src/qemu/machine-definition.ts";

/** TCG on a busy host: a first boot with initdb takes about 13 s alone. */
export const guestBootTimeoutMs = 120_000;

/** The guest as hardware: it boots from "root"; PostgreSQL has its data and its log of writes on two further disks. */
export const databaseDefinition: MachineDefinition = {
  machineType: "q35",
  // Under TCG a second processor costs more than it brings.
  cpuCount: 1,
  memoryBytes: 384 * MIB,
  disks: [
    { name: "root", serial: "root", bootIndex: 0 },
    { name: "data", serial: "data", bootIndex: null },
    { name: "wal", serial: "wal", bootIndex: null },
  ],
};

const readySchema = z.object({
  event: z.literal("ready"),
  first: z.boolean(),
  /** The order witness: "data" is always made durable before "wal". */
  tickData: z.number(),
  tickWal: z.number(),
  database: z.object({ rows: z.number(), newestRow: z.number(), damagedRows: z.number() }),
});

/** What the database held when it had started (and recovered, if it had to). */
export interface DatabaseState {
  readonly rows: number;
  readonly newestRow: number;
  readonly damagedRows: number;
  readonly tickData: number;
  readonly tickWal: number;
}

/** Matches the console line with which the guest says that its database answers. */
export const guestReadyPattern = /^GUEST \{"event":"ready"/;
/** Matches the console line with which the guest says how its database is, well or not. */
export const guestAnswerPattern = /^GUEST \{"event":"(ready|failed)"/;

/** Waits until the guest's database answers, or rejects with GUEST_FAILED. */
export async function waitForDatabase(
  console: MachineConsole,
  signal?: AbortSignal,
): Promise<DatabaseState> {
  const line = await console.waitForLine(guestAnswerPattern, {
    timeoutMs: guestBootTimeoutMs,
    signal,
  });
  return parseDatabaseLine(line.text, console.excerpt());
}

/** Reads the guest's "ready" line. GUEST_FAILED, with `excerpt`, when it says that the database failed. */
export function parseDatabaseLine(text: string, excerpt: string): DatabaseState {
  const said: unknown = JSON.parse(text.slice("GUEST ".length));
  const ready = readySchema.safeParse(said).data;
  if (!ready)
    throw new Fault("GUEST_FAILED", `the guest said ${text}; its console ends with:\n${excerpt}`);
  return { ...ready.database, tickData: ready.tickData, tickWal: ready.tickWal };
}

/** A row that the database acknowledged, and when we had heard of it on the host's clock: not before it was durable. */
export interface Acknowledgement {
  readonly row: number;
  readonly atMs: number;
}

/** Starts the guest's writer and notes what it says it committed. */
export function startWriter(console: MachineConsole): {
  readonly acknowledgements: readonly Acknowledgement[];
} & Disposable {
  const acknowledgements: Acknowledgement[] = [];
  const listening = console.onLine((line) => {
    const row = /^COMMITTED (\d+)$/.exec(line.text)?.[1];
    if (row !== undefined) acknowledgements.push({ row: Number(row), atMs: line.atMs });
  });
  console.type("write");
  return { acknowledgements, [Symbol.dispose]: () => listening[Symbol.dispose]() };
}

/** The newest row acknowledged before `atMs`; 0 when none was. */
export function newestRowBefore(
  acknowledgements: readonly Acknowledgement[],
  atMs: number,
): number {
  return acknowledgements.findLast((acknowledged) => acknowledged.atMs < atMs)?.row ?? 0;
}
