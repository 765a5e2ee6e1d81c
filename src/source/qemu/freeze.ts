import { isFault } from "../../base/fault.ts";
import type { DiskName, GroupName, PointId } from "../../core/ids.ts";
import type { MachineDescription } from "../../core/point.ts";
import type { Snapshot } from "../../core/source.ts";
import { ownPrefix } from "../../qemu/own-names.ts";
import type { SourceContext } from "./context.ts";
import { takeInstant } from "./instant.ts";
import { MachineFreeze, planFreeze } from "./machine-freeze.ts";
import { removePointInTime } from "./repair.ts";
import type { Session } from "./session.ts";
import type { Hold } from "./sessions.ts";
import type { QemuMachineSettings } from "./settings.ts";
import { PointSnapshot } from "./snapshot.ts";

/** What `Source.freeze` takes. */
export interface FreezeRequest {
  readonly id: PointId;
  readonly since: ReadonlyMap<DiskName, PointId>;
  readonly signal: AbortSignal;
}

/** Takes one point over all machines of the group, and leaves nothing behind when it rejects. */
export async function freezeGroup(
  context: SourceContext,
  request: FreezeRequest,
): Promise<Snapshot> {
  try {
    return await attempt(context, request);
  } catch (error) {
    if (!isFault(error, "QMP_REFUSED", "BITMAP_LOST")) throw error;
    // What we knew of the disks may be old: one may have been resized, or its bitmap removed behind our back.
    for (const session of await context.sessions.live()) session.doubt();
    return await attempt(context, request);
  }
}

async function attempt(context: SourceContext, request: FreezeRequest): Promise<Snapshot> {
  const { options, sessions } = context;
  const { signal } = request;
  await using holds = new AsyncDisposableStack();
  const held: { machine: QemuMachineSettings; hold: Hold }[] = [];
  for (const machine of options.machines) {
    held.push({ machine, hold: holds.use(await sessions.hold(machine, signal)) });
  }
  const freezes = await planGroup(context, held, request);
  const machines: MachineDescription[] = [];
  for (const { machine, hold } of held) {
    machines.push(await context.describe(machine, hold.session, signal));
    await hold.session.serve(signal);
  }
  const snapshot = new PointSnapshot(context, { id: request.id, freezes, machines });
  try {
    const taken = await takeInstant(context, freezes, signal);
    snapshot.open(taken);
    snapshot.lost.throwIfAborted();
    signal.throwIfAborted();
    holds.move(); // The snapshot gives the holds back.
    return snapshot;
  } catch (error) {
    await snapshot.abandon();
    throw error;
  }
}

/**
 * The graph without any point of ours: one that could not be undone when its connection broke would have its scratch emptied
 * beneath it, and its guest would meet an error.
 */
async function cleanGraph(session: Session, group: GroupName, signal: AbortSignal) {
  const graph = await session.graph(signal);
  if (!graph.nodes.some(({ name }) => name.startsWith(ownPrefix(group)))) return graph;
  await removePointInTime(session, group, signal);
  return await session.inspect(signal);
}

async function planGroup(
  context: SourceContext,
  held: readonly { machine: QemuMachineSettings; hold: Hold }[],
  request: FreezeRequest,
): Promise<readonly MachineFreeze[]> {
  const { group } = context.options;
  const { id, since, signal } = request;
  const plans = [];
  for (const { hold } of held) {
    const { disks } = await cleanGraph(hold.session, group, signal);
    plans.push({ hold, disks: planFreeze({ group, id, since, disks }) });
  }
  await context.phase("reserve");
  const live = plans.filter(({ hold }) => hold.session.isLive).flatMap(({ disks }) => disks);
  const scratch = await context.scratch.prepare(
    live.map(({ disk }) => disk),
    signal,
  );
  await context.phase("serve");
  return plans.map(({ hold, disks }) => {
    const files = disks.map((disk) => ({ ...disk, scratch: scratch.get(disk.disk.name) ?? null }));
    return new MachineFreeze(hold, files);
  });
}
