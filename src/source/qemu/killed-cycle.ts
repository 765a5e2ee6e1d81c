import { systemClock } from "../../base/clock.ts";
import { nodeFileSystem } from "../../base/node-file-system.ts";
import type { DiskName, GroupName, PointId } from "../../core/ids.ts";
import type { SourcePhase } from "./phase.ts";
import type { QemuMachineSettings } from "./settings.ts";
import { qemuSource } from "./source.ts";

// For tests: a process that takes a point and kills itself with SIGKILL before the named step.

/** What the process is told, as JSON, in its only argument. */
export interface KilledCycle {
  readonly group: GroupName;
  readonly machines: readonly QemuMachineSettings[];
  readonly scratch: { readonly directory: string; readonly capBytes: number };
  readonly disks: readonly DiskName[];
  readonly since: PointId;
  readonly id: PointId;
  readonly phase: SourcePhase;
}

const { disks, since, id, phase, ...options } = JSON.parse(process.argv[2] ?? "") as KilledCycle;
const { signal } = new AbortController();
const source = qemuSource({
  ...options,
  clock: systemClock(),
  files: nodeFileSystem(),
  onPhase: (reached) => {
    if (reached === phase) process.kill(process.pid, "SIGKILL");
  },
});
const counted = new Map(disks.map((disk) => [disk, since]));
const snapshot = await source.freeze({ id, since: counted, signal });
for (const disk of disks) {
  for await (const { offsetBytes, state } of snapshot.extents(disk)) {
    if (state === "data") await snapshot.read(disk, offsetBytes, new Uint8Array(65_536));
  }
}
await snapshot.release();
await snapshot.forget();
await source[Symbol.asyncDispose]();
process.exitCode = 3; // The step was never reached.
