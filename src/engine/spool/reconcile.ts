import type { GroupName } from "../../core/ids.ts";
import type { IntakeStanding } from "../../core/journal.ts";
import type { Point } from "../../core/point.ts";
import { decideGeneration } from "../generation.ts";
import type { LostPoints } from "./spool-group.ts";
import type { SpoolState } from "./spool-state.ts";
import { withAcknowledged, withDropped } from "./state-changes.ts";

/** What the vault's answer means for the spool. */
export interface Reconciliation {
  readonly state: SpoolState;
  /** Points that cannot be shipped any more, and why; null when all can. */
  readonly lost: LostPoints | null;
}

/**
 * Puts what the vault says and what the spool holds together. Pure.
 *
 *   vault's head is            | then
 *   as last heard              | all that waits goes on from it
 *   a point that waits         | it and those before were acknowledged, the answers were lost
 *   the unanswered point       | it was sealed: the first that waits, which holds all since the head before, goes on from it
 *   a point that was dropped   | those before it were acknowledged, and what was cut since goes on from it in the same way
 *   anything else              | what waits continues nothing: dropped, the vault's head is where counting starts
 *
 * GENERATION_STALE or GENERATION_CONFLICT when another than `holder` may write.
 */
export function reconcile(
  state: SpoolState,
  vault: IntakeStanding,
  group: { readonly name: GroupName; readonly holder: string },
): Reconciliation {
  decideGeneration({
    group: group.name,
    holder: group.holder,
    current: vault.generation,
    heldNumber: heldNumber(state, group.holder),
  });
  const placed = atVaultsHead(state, vault.head);
  const { generation, staged } = vault;
  const heard = { ...placed.state, isVaultKnown: true, generation, staged };
  const number = generation?.number ?? 0;
  const raised = heard.points.findIndex((point) => point.generationNumber < number);
  if (raised === -1) return { state: heard, lost: placed.lost };
  const reason = `The group was raised to generation ${number} while points of an older one waited.`;
  const lost = { points: heard.points.slice(raised), reason };
  return { state: withDropped(heard, raised), lost };
}

function heldNumber({ generation, points }: SpoolState, holder: string): number | null {
  if (generation?.holder === holder) return generation.number;
  return points.at(-1)?.generationNumber ?? null;
}

function atVaultsHead(state: SpoolState, head: Point | null): Reconciliation {
  const continued = (next: SpoolState): Reconciliation => ({ state: next, lost: null });
  if (head === null) return state.vaultHead === null ? continued(state) : anew(state, null);
  if (head.id === state.vaultHead?.id) return continued({ ...state, vaultHead: head });
  const index = state.points.findIndex((point) => point.id === head.id);
  if (index !== -1) return continued(withAcknowledged(state, index, head));
  const isOurs = [state.unanswered, ...state.dropped].some((point) => point?.id === head.id);
  if (!isOurs) return anew(state, head);
  // What is cut after a point was dropped counts from before all that were, so it holds all changes since any of them.
  const [first, ...others] = state.points.filter((point) => point.sequence > head.sequence);
  const known = { ...state, vaultHead: head, unanswered: null, dropped: [] };
  if (first === undefined) {
    const owed = state.owed?.witness === head.id ? null : state.owed;
    return continued({ ...known, owed, points: [] });
  }
  // Parts that were compared with an older head do not fit on this one.
  if (first.adopted.length > 0) return anew(state, head);
  const points = [{ ...first, isRebased: true }, ...others];
  return continued({ ...known, points });
}

function anew(state: SpoolState, head: Point | null): Reconciliation {
  const reason = "The vault's head is none of the points that were cut or acknowledged here.";
  const known = { ...state, vaultHead: head, unanswered: null, dropped: [] };
  const next = { ...known, owed: null, points: [] };
  return { state: next, lost: state.points.length === 0 ? null : { points: state.points, reason } };
}
