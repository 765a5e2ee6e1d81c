import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Fault } from "../base/fault.ts";
import { type MachineName, machineOf } from "../core/ids.ts";
import type { View } from "../core/journal.ts";
import type { BootedMachine, Platform } from "../core/platform.ts";
import type { MachineDescription } from "../core/point.ts";
import { fixedExports } from "../nbd/export.ts";
import { type NbdServer, serveNbd } from "../nbd/server.ts";
import { viewExport } from "./view-export.ts";

/** The machines of a point, running. Disposing stops them and throws away what they wrote. */
export interface BootedPoint extends AsyncDisposable {
  readonly machines: readonly BootedMachine[];
}

/**
 * Starts the machines of a point (all, or those named) straight from its view, without any network. The view stays the
 * caller's and must outlive them. POINT_UNKNOWN for a machine that the point does not have, and what the platform rejects with.
 */
export async function bootPoint(options: {
  readonly view: View;
  readonly platform: Platform;
  readonly only?: readonly string[];
  readonly signal: AbortSignal;
}): Promise<BootedPoint> {
  const { view, platform, signal } = options;
  const chosen = chooseMachines(view, options.only ?? []);
  await using opened = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), "afterimage-view-"));
  opened.defer(() => rm(directory, { recursive: true, force: true }));
  const exports = new Map(view.disks.map((disk) => [disk.name, viewExport(view, disk)] as const));
  const server = opened.use(
    await serveNbd({ listen: { path: join(directory, "nbd") }, exports: fixedExports(exports) }),
  );
  const machines: BootedMachine[] = [];
  for (const machine of chosen) {
    const disks = disksOf(view, server, machine.name);
    const { group } = view.point;
    machines.push(opened.use(await platform.start({ group, machine, disks, signal })));
  }
  const held = opened.move();
  return { machines, [Symbol.asyncDispose]: () => held.disposeAsync() };
}

function chooseMachines(view: View, only: readonly string[]): readonly MachineDescription[] {
  const { machines, sequence, group } = view.point;
  const unknown = only.find((name) => !machines.some((machine) => machine.name === name));
  if (unknown !== undefined) {
    const names = machines.map(({ name }) => name).join(", ");
    const message = `${group} #${sequence} has no machine ${unknown}; it has ${names}`;
    throw new Fault("POINT_UNKNOWN", message, { machine: unknown });
  }
  return only.length === 0 ? machines : machines.filter(({ name }) => only.includes(name));
}

function disksOf(view: View, server: NbdServer, machine: MachineName) {
  return view.disks
    .filter((disk) => machineOf(disk.name) === machine)
    .map(({ name, sizeBytes }) => ({
      name: name.slice(machine.length + 1),
      sizeBytes,
      uri: server.uri(name),
    }));
}
