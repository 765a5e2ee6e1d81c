import { Fault, isFault } from "../../base/fault.ts";
import * as commands from "../../qemu/commands.ts";
import type { QmpCommand } from "../../qemu/qmp-messages.ts";
import type { PlacedDisk } from "./disk-place.ts";

/** Asks QEMU one thing; rejects with QMP_REFUSED when it does not know it. */
export type Ask = (command: QmpCommand) => Promise<unknown>;

/**
 * Refuses a disk that an iothread serves: IOTHREAD_UNSAFE. An export runs where its disk does, and Debian's QEMU 7.2.22 aborts,
 * guest and all, when an NBD client leaves an export that runs in an iothread ("nbd_blockdev_client_closed: Assertion
 * qemu_in_main_thread()"). Our death would be such a leaving, so no care of ours could prevent it.
 */
export async function refuseIothreads(disks: readonly PlacedDisk[], ask: Ask): Promise<void> {
  const iothreads = await answerOrNull(ask, commands.queryIothreads());
  if (!Array.isArray(iothreads) || iothreads.length === 0) return;
  for (const { name, device } of disks) {
    const iothread = device === "" ? null : await iothreadOf(device, ask);
    if (iothread === null) continue;
    const message = `${name} is served by ${iothread}: this QEMU may abort with its guest when an NBD client of such a disk leaves`;
    throw new Fault("IOTHREAD_UNSAFE", message, { disk: name, iothread });
  }
}

/** Path of the iothread of a device, or of the controller that it hangs on (SCSI); null when it has none. */
async function iothreadOf(device: string, ask: Ask): Promise<string | null> {
  const own = await answerOrNull(ask, commands.getProperty(device, "iothread"));
  if (own !== null) return nonEmpty(own);
  const bus = nonEmpty(await answerOrNull(ask, commands.getProperty(device, "parent_bus")));
  if (bus === null) return null;
  const controller = bus.slice(0, bus.lastIndexOf("/"));
  return nonEmpty(await answerOrNull(ask, commands.getProperty(controller, "iothread")));
}

function nonEmpty(answer: unknown): string | null {
  return typeof answer === "string" && answer !== "" ? answer : null;
}

/** Null for what this QEMU, or this object, does not have. */
async function answerOrNull(ask: Ask, command: QmpCommand): Promise<unknown> {
  try {
    return await ask(command);
  } catch (error) {
    if (isFault(error, "QMP_REFUSED")) return null;
    throw error;
  }
}
