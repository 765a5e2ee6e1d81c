import { Fault, isFault } from "../../base/fault.ts";
import { GIB } from "../../base/units.ts";
import type { DiskName, PointId } from "../../core/ids.ts";
import { machineOf } from "../../core/ids.ts";
import type { MachineDescription } from "../../core/point.ts";
import type { DiskTracking, LiveDisk, RepairReport, Source } from "../../core/source.ts";
import { abortFault } from "../../qemu/abort-fault.ts";
import { recordingBitmapName } from "../../qemu/bitmap-name.ts";
import * as commands from "../../qemu/commands.ts";
import { describeMachine } from "../../qemu/describe-machine.ts";
import type { MachineDefinition } from "../../qemu/machine-definition.ts";
import { Connector } from "./connector.ts";
import type { SourceContext } from "./context.ts";
import { countDirtyBytes } from "./dirty-bytes.ts";
import { freezeGroup } from "./freeze.ts";
import { countGuestWrites } from "./guest-writes.ts";
import { openLiveDisk } from "./live-disk.ts";
import { valuesOf } from "./machine-freeze.ts";
import { pauseMachines } from "./pause.ts";
import { repairMachine } from "./repair.ts";
import { Scratch } from "./scratch.ts";
import type { Session } from "./session.ts";
import { Sessions } from "./sessions.ts";
import type { QemuMachineSettings, QemuSourceOptions } from "./settings.ts";
import { recordingSince } from "./tracking.ts";

/** What a machine is built as when its QEMU was never seen running and the configuration does not say. */
const unknownDefinition = { machineType: "q35", cpuCount: 1, memoryBytes: GIB };

/** A group of QEMU machines. Connects when first asked, and again when a connection was lost. */
export function qemuSource(options: QemuSourceOptions): Source {
  const connector = new Connector(options);
  const sessions = new Sessions(options, connector);
  const scratch = new Scratch(options.group, options.scratch, options.files);
  const definitions = new Map<QemuMachineSettings, Told>();
  const context: SourceContext = {
    options,
    connector,
    sessions,
    scratch,
    phase: async (phase) => await options.onPhase?.(phase),
    describe: (machine, session, signal) => describe(definitions, machine, session, signal),
  };
  const isPersistent = options.machines.every(({ disks }) =>
    disks.every(({ tracking }) => tracking === "persistent"),
  );
  return {
    traits: {
      tracker: isPersistent ? "persistent" : "while-running",
      hasMultiMachineInstant: true,
      canReadOffline: true,
    },
    repair: (request) => {
      const work = () => repair(context, request);
      return faulted(request.signal, () => onceMore(sessions, work));
    },
    track: (disks, id, { signal }) => {
      const work = () => track(context, disks, id, signal);
      return faulted(signal, () => onceMore(sessions, work));
    },
    openLive: (disk, { signal }) => faulted(signal, () => openLive(context, disk, signal)),
    freeze: (request) => faulted(request.signal, () => freezeGroup(context, request)),
    dirtyBytes: ({ since, signal }) => {
      const work = () => countDirtyBytes(context, since, signal);
      return faulted(signal, () => onceMore(sessions, work));
    },
    guestWrites: ({ signal }) => {
      const work = () => countGuestWrites(context, signal);
      return faulted(signal, () => onceMore(sessions, work));
    },
    pause: ({ signal }) => {
      const work = () => pauseMachines(context, signal);
      return faulted(signal, () => onceMore(sessions, work));
    },
    async [Symbol.asyncDispose]() {
      await sessions[Symbol.asyncDispose]();
      await connector[Symbol.asyncDispose]();
      await scratch[Symbol.asyncDispose]();
    },
  };
}

/**
 * Does idempotent work again when a connection that was kept from before turns out to have ended: its machine may have stopped
 * or started since, and we had not heard of it.
 */
async function onceMore<Value>(sessions: Sessions, work: () => Promise<Value>): Promise<Value> {
  const hadKept = (await sessions.live()).length > 0;
  try {
    return await work();
  } catch (error) {
    if (!hadKept || !isFault(error, "QMP_CLOSED")) throw error;
    return await work();
  }
}

/** The signal's own reason may be anything; a caller gets a Fault. */
async function faulted<Value>(signal: AbortSignal, work: () => Promise<Value>): Promise<Value> {
  try {
    return await work();
  } catch (error) {
    throw signal.aborted && !isFault(error) ? abortFault(signal, "work on the source") : error;
  }
}

async function repair(
  context: SourceContext,
  request: { readonly keep: readonly PointId[]; readonly signal: AbortSignal },
): Promise<RepairReport> {
  const { options, sessions, scratch } = context;
  const disks: DiskTracking[] = [];
  const removed: string[] = [];
  for (const machine of options.machines) {
    await using hold = await sessions.hold(machine, request.signal);
    const report = await repairMachine(hold.session, { group: options.group, ...request });
    disks.push(...report.disks);
    removed.push(...report.removed);
  }
  for (const name of await scratch.removeStale(await sessions.inUse())) {
    removed.push(`scratch: ${name}`);
  }
  return { disks, removed };
}

async function track(
  context: SourceContext,
  names: readonly DiskName[],
  id: PointId,
  signal: AbortSignal,
): Promise<void> {
  const { options, sessions } = context;
  for (const machine of options.machines) {
    const own = names.filter((name) => machineOf(name) === machine.name);
    if (own.length === 0) continue;
    await using hold = await sessions.hold(machine, signal);
    const { session } = hold;
    await session.inspect(signal);
    const actions = [];
    for (const name of own) {
      const disk = await session.disk(name, signal);
      if (recordingSince(options.group, disk, id)) continue;
      if (!session.isLive && !disk.isPersistent) {
        const message = `${name}: a stopped machine's raw image cannot record; start the machine`;
        throw new Fault("DISK_UNSUPPORTED", message, { disk: name });
      }
      const bitmap = recordingBitmapName(options.group, id, disk);
      actions.push(commands.addRecordingBitmap(disk.node, bitmap, disk.isPersistent));
    }
    if (actions.length === 0) continue;
    const list = [commands.transaction(actions)];
    valuesOf(await session.qmp.executeAll(list, { signal }));
    await session.inspect(signal);
  }
}

async function openLive(
  context: SourceContext,
  name: DiskName,
  signal: AbortSignal,
): Promise<LiveDisk> {
  const machine = context.options.machines.find((known) => known.name === machineOf(name));
  if (!machine) throw new Fault("DISK_MISSING", `the group has no disk ${name}`, { disk: name });
  return await openLiveDisk(context, await context.sessions.hold(machine, signal), name, signal);
}

/** A description and the QEMU that told it; another QEMU of the machine may be another machine type. */
interface Told {
  readonly session: Session;
  readonly definition: MachineDefinition;
}

async function describe(
  known: Map<QemuMachineSettings, Told>,
  machine: QemuMachineSettings,
  session: Session,
  signal: AbortSignal,
): Promise<MachineDescription> {
  const { disks } = await session.graph(signal);
  const devices = new Map(
    disks.map(({ name, device }) => [name.slice(name.indexOf("/") + 1), device]),
  );
  const before = known.get(machine);
  const fallback = before?.definition ?? {
    ...unknownDefinition,
    disks: [...devices.keys()].map((name) => ({ name, serial: null, bootIndex: null })),
  };
  if (session.isLive && before?.session !== session) {
    const definition = await describeMachine(session.qmp, devices, fallback, { signal });
    known.set(machine, { session, definition });
  }
  const definition = { ...(known.get(machine)?.definition ?? fallback), ...machine.boot };
  return { name: machine.name, platform: "qemu", definition };
}
