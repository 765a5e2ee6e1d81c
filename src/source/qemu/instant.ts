import assert from "node:assert/strict";
import { z } from "zod";
import { Fault, isFault } from "../../base/fault.ts";
import type { Consistency } from "../../core/point.ts";
import * as commands from "../../qemu/commands.ts";
import type { QmpCommand } from "../../qemu/qmp-messages.ts";
import { barrierMsDefault } from "./connector.ts";
import type { SourceContext } from "./context.ts";
import type { FrozenDisk, MachineFreeze } from "./machine-freeze.ts";
import { valuesOf } from "./machine-freeze.ts";
import type { Taken } from "./taken.ts";

/**
 * Takes the instant over machines that are planned; whatever it rejects with, the caller undoes them all. At most one machine
 * that runs: one burst each, the stopped ones first, since they do not change. Several: a barrier.
 */
export async function takeInstant(
  context: SourceContext,
  freezes: readonly MachineFreeze[],
  signal: AbortSignal,
): Promise<Taken> {
  const running = freezes.filter(({ hold }) => hold.session.isLive);
  const stopped = freezes.filter(({ hold }) => !hold.session.isLive);
  const { clock } = context.options;
  await context.phase("freeze");
  const lowerMs = clock.nowMs();
  const disks: FrozenDisk[] = [];
  for (const freeze of stopped) disks.push(...(await takeAtOnce(context, freeze, signal)));
  if (running.length <= 1) {
    for (const freeze of running) disks.push(...(await takeAtOnce(context, freeze, signal)));
    const upperMs = clock.nowMs();
    await context.phase("frozen");
    return { disks, instant: { lowerMs, upperMs, clockErrorMs: null }, consistency: oneMachine };
  }
  const barrier = await takeTogether(context, running, signal);
  await context.phase("frozen");
  for (const freeze of running) {
    const answers = await freeze.hold.session.qmp.executeAll(freeze.expose(), { signal });
    disks.push(...freeze.confirm(answers));
  }
  const { upperMs, consistency } = barrier;
  return { disks, instant: { lowerMs, upperMs, clockErrorMs: null }, consistency };
}

const oneMachine: Consistency = {
  asked: "crash",
  reached: "crash",
  reason: "All disks of the machine were frozen by one transaction of its QEMU.",
  isGroupConsistent: true,
  skewMs: 0,
};

/** Everything of one machine in one burst, written at once. */
async function takeAtOnce(
  context: SourceContext,
  freeze: MachineFreeze,
  signal: AbortSignal,
): Promise<readonly FrozenDisk[]> {
  const burst = [...freeze.prepare(), freeze.transact(), ...freeze.expose()];
  const answering = freeze.hold.session.qmp.executeAll(burst, { signal });
  answering.catch(() => {}); // Awaited below; the phase before it may reject first.
  await context.phase("sent");
  return freeze.confirm(await answering);
}

/**
 * Several machines:
 *
 *   prepared ─arm─▶ guarded ─stop all─▶ still ─transact all─▶ frozen ─cont all─▶ running ─disarm─▶ done
 *                      └──── any failure, our death or the deadline: resumed by us or by the guard ───▲
 *
 * Between the last `stop` and the first `cont` all of them stand still, so the transactions see one state of all. A machine that
 * stood still before is not resumed.
 */
async function takeTogether(
  context: SourceContext,
  freezes: readonly MachineFreeze[],
  signal: AbortSignal,
): Promise<{ readonly upperMs: number; readonly consistency: Consistency }> {
  const { options } = context;
  const { clock } = options;
  const timeoutMs = options.barrierMs ?? barrierMsDefault;
  const guard = await context.connector.guard(signal);
  const movers: MachineFreeze[] = [];
  for (const freeze of freezes) {
    valuesOf(await freeze.hold.session.qmp.executeAll(freeze.prepare(), { signal }));
    if (await isRunning(freeze, signal)) movers.push(freeze);
  }
  let skewMs = 0;
  let upperMs = 0;
  let isFrozen = false;
  try {
    await guard.arm();
    await context.phase("armed");
    const stoppingAtMs = clock.monotonicMs();
    await onAll(movers, commands.stopMachine, { signal, timeoutMs });
    skewMs = Math.ceil(clock.monotonicMs() - stoppingAtMs);
    await context.phase("still");
    await onAll(freezes, (freeze) => freeze.transact(), { signal, timeoutMs });
    isFrozen = true;
    upperMs = clock.nowMs();
    await context.phase("sent");
    await onAll(movers, commands.continueMachine, { timeoutMs });
    await guard.disarm();
  } catch (error) {
    await resume(movers);
    const late = await guard.disarm().then(
      () => null,
      (fault: unknown) => fault,
    );
    const cause = isFault(error, "TIMEOUT") && isFault(late) ? late : error;
    if (!isFault(cause)) throw cause;
    if (isFrozen && isFault(cause, "BARRIER_FAILED")) return { upperMs, consistency: torn(cause) };
    if (isFault(cause, "TIMEOUT", "QMP_CLOSED")) throw barrierFault(cause);
    throw cause;
  }
  const consistency: Consistency = {
    ...oneMachine,
    reason: `${freezes.length} machines stood still together while each was frozen by one transaction.`,
    skewMs,
  };
  return { upperMs, consistency };
}

const statusSchema = z.object({ running: z.boolean() });

async function isRunning(freeze: MachineFreeze, signal: AbortSignal): Promise<boolean> {
  const answer = await freeze.hold.session.run(commands.queryStatus(), signal);
  return statusSchema.safeParse(answer).data?.running ?? true;
}

/** One command on each machine, all at the same time; waits for all, then throws the first failure. */
async function onAll(
  freezes: readonly MachineFreeze[],
  commandFor: (freeze: MachineFreeze) => QmpCommand,
  options: { readonly signal?: AbortSignal; readonly timeoutMs: number },
): Promise<void> {
  const outcomes = await Promise.allSettled(
    freezes.map(async (freeze) =>
      valuesOf(await freeze.hold.session.qmp.executeAll([commandFor(freeze)], options)),
    ),
  );
  for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
}

/** Lets run again what can be reached; what cannot is the guard's. */
async function resume(movers: readonly MachineFreeze[]): Promise<void> {
  await Promise.allSettled(movers.map(({ hold }) => hold.session.run(commands.continueMachine())));
}

function torn(cause: Fault): Consistency {
  return {
    ...oneMachine,
    reason: `Each machine was frozen, but they did not all stand still together: ${cause.message}`,
    isGroupConsistent: false,
    skewMs: null,
  };
}

function barrierFault(cause: Fault): Fault {
  assert(cause instanceof Fault);
  const message = `the machines could not be held still together: ${cause.message}`;
  return new Fault("BARRIER_FAILED", message, {}, { cause });
}
