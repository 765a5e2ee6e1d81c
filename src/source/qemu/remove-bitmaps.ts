import assert from "node:assert/strict";
import { parseNodes } from "../../qemu/block-graph.ts";
import * as commands from "../../qemu/commands.ts";
import { isAbsence } from "../../qemu/own-things.ts";
import type { SourceContext } from "./context.ts";
import type { FreezeDisk, MachineFreeze } from "./machine-freeze.ts";

/**
 * Removes one bitmap of each disk, none where there is no name, wherever the disks are by now (their machine may have stopped or
 * started since), and reads back what is left. Idempotent.
 */
export async function removeBitmaps(
  { sessions, options }: SourceContext,
  freezes: readonly MachineFreeze[],
  nameOf: (disk: FreezeDisk) => string | null,
): Promise<void> {
  const { signal } = new AbortController();
  for (const freeze of freezes) {
    const named = freeze.disks.flatMap((disk) => {
      const bitmap = nameOf(disk);
      return bitmap === null ? [] : [{ name: disk.disk.name, bitmap }];
    });
    if (named.length === 0) continue;
    const { name: machineName } = freeze.hold.session.machine;
    const machine = options.machines.find(({ name }) => name === machineName);
    assert(machine, "a machine was frozen that is not in the group");
    await using hold = await sessions.hold(machine, signal);
    const { session } = hold;
    const removals = [];
    for (const { name, bitmap } of named) {
      const { node } = await session.disk(name, signal);
      removals.push(commands.removeBitmap(node, bitmap));
    }
    const answers = await session.qmp.executeAll([...removals, commands.queryNodes()]);
    for (const answer of answers.slice(0, -1)) {
      if (!answer.ok && !isAbsence(answer.fault)) throw answer.fault;
    }
    const last = answers.at(-1);
    if (last?.ok) session.learn(parseNodes(last.value));
    else session.doubt();
  }
}
