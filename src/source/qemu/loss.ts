import { Fault } from "../../base/fault.ts";
import type { QmpEvent } from "../../qemu/qmp-messages.ts";
import type { MachineFreeze } from "./machine-freeze.ts";

/**
 * Watches what one machine's part of a point stands on; calls `onLost` when it cannot be held any longer. Disposing ends it.
 */
export function watchLoss(freeze: MachineFreeze, onLost: (fault: Fault) => void): Disposable {
  const { qmp } = freeze.hold.session;
  const listening = qmp.onEvent((event) => {
    const fault = lossOf(freeze, event);
    if (fault) onLost(fault);
  });
  const onClosed = () => onLost(qmp.closed.reason as Fault);
  qmp.closed.addEventListener("abort", onClosed, { once: true });
  if (qmp.closed.aborted) onClosed();
  return {
    [Symbol.dispose]() {
      listening[Symbol.dispose]();
      qmp.closed.removeEventListener("abort", onClosed);
    },
  };
}

const jobEnds = ["BLOCK_JOB_ERROR", "BLOCK_JOB_COMPLETED", "BLOCK_JOB_CANCELLED"];

function lossOf(freeze: MachineFreeze, { event, data }: QmpEvent): Fault | null {
  for (const { disk, names } of freeze.disks) {
    const details = { disk: disk.name, event };
    if (event === "BLOCK_WRITE_THRESHOLD" && data["node-name"] === names.scratchNode) {
      const message = `${disk.name}: the guest overwrote more than scratch holds`;
      return new Fault("SCRATCH_FULL", message, details);
    }
    if (jobEnds.includes(event) && data.device === names.job) {
      const cause = typeof data.error === "string" ? `: ${data.error}` : "";
      const message = `${disk.name}: the point's job ended in QEMU, not by us (${event})${cause}`;
      return new Fault("QMP_REFUSED", message, details);
    }
    if (event === "BLOCK_EXPORT_DELETED" && data.id === names.pointExport) {
      const message = `${disk.name}: the point's export was removed in QEMU, not by us`;
      return new Fault("QMP_REFUSED", message, details);
    }
  }
  return null;
}
