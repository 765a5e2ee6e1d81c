import { Fault } from "../base/fault.ts";
import type { PointHeader } from "../core/point.ts";
import type { GroupState } from "./group-state.ts";
import { refused } from "./point-writer.ts";

/**
 * Whether a delta may be sealed on top of what the ledger holds. A sequence that was sealed before may come again: the answer
 * depends on its content root, which is known at the end. SEAL_REFUSED says what does not fit and attaching cures;
 * GENERATION_STALE and GENERATION_CONFLICT (details.holder, details.number) that another may write.
 */
export function checkMaySeal(state: GroupState, header: PointHeader): void {
  if (header.group !== state.group) {
    throw refused(header, `this is the vault's group ${state.group}`);
  }
  checkGeneration(state, header);
  if (state.sealedAs(header.sequence) !== null) return;
  const headId = state.head?.facts.id ?? null;
  const follows =
    header.fromPoint === headId &&
    header.fromSequence === state.headSequence &&
    header.sequence > state.headSequence;
  if (!follows) {
    const head = headId === null ? "nothing yet" : `#${state.headSequence} (${headId})`;
    throw refused(header, `it starts from #${header.fromSequence}, the vault's head is ${head}`);
  }
  checkDisks(state, header);
}

/**
 * Only the holder of the current generation writes; a group without one is claimed as number 1. No number is ever inferred:
 * raising it is a record of its own.
 */
export function checkGeneration(state: GroupState, header: PointHeader): void {
  const { number, holder } = header.generation;
  const current = state.generation ?? { number: 1, holder };
  if (number === current.number && holder === current.holder) return;
  const code = number < current.number ? "GENERATION_STALE" : "GENERATION_CONFLICT";
  const holds = `generation ${current.number} of the group is held by ${current.holder}`;
  const message = `${header.group}: ${holds}, not generation ${number} by ${holder}`;
  throw new Fault(code, message, { group: header.group, ...current });
}

function checkDisks(state: GroupState, header: PointHeader): void {
  const before = new Map(state.head?.facts.disks.map((disk) => [disk.identity, disk.sizeBytes]));
  for (const disk of header.disks) {
    const sizeBytes = before.get(disk.identity) ?? null;
    if (sizeBytes === disk.previousSizeBytes) continue;
    const has = sizeBytes === null ? "does not have it" : `has it with ${sizeBytes} bytes`;
    throw refused(header, `${disk.name} is said to go on from the head, which ${has}`);
  }
}
