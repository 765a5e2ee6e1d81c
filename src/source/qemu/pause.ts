import { z } from "zod";
import type { MachineName } from "../../core/ids.ts";
import * as commands from "../../qemu/commands.ts";
import type { SourceContext } from "./context.ts";
import type { QemuMachineSettings } from "./settings.ts";

const statusSchema = z.object({ running: z.boolean() });

/**
 * Pauses what runs and leaves it paused; the others are tried although one fails, then the first failure is thrown. A machine
 * that is off or paused already is not named.
 */
export async function pauseMachines(
  context: SourceContext,
  signal: AbortSignal,
): Promise<readonly MachineName[]> {
  const { machines } = context.options;
  const outcomes = await Promise.allSettled(
    machines.map((machine) => pauseMachine(context, machine, signal)),
  );
  return outcomes.flatMap((outcome, index) => {
    if (outcome.status === "rejected") throw outcome.reason;
    const machine = machines[index];
    return outcome.value && machine ? [machine.name] : [];
  });
}

async function pauseMachine(
  { sessions }: SourceContext,
  machine: QemuMachineSettings,
  signal: AbortSignal,
): Promise<boolean> {
  const session = await sessions.running(machine, signal);
  const answer = await session?.runIfKnown(commands.queryStatus(), signal);
  if (!session || !statusSchema.safeParse(answer).data?.running) return false;
  await session.run(commands.stopMachine(), signal);
  return true;
}
