import { type Fault, isFault } from "../base/fault.ts";
import * as commands from "./commands.ts";
import type { Qmp, QmpAnswer } from "./qmp.ts";
import type { QmpCommand, QmpEvent } from "./qmp-messages.ts";

/** How long QEMU may take to end an export or a job after it was told to. */
export const endingTimeoutMs = 10_000;

/** Things of ours in one QEMU, by name. What is not there is skipped. */
export interface OwnThings {
  readonly exports: readonly string[];
  readonly jobs: readonly string[];
  readonly nodes: readonly string[];
  readonly bitmaps: readonly { readonly node: string; readonly name: string }[];
}

/** Told before each of the round trips. */
export type RemovalStep = "exports" | "jobs" | "nodes";

/**
 * Removes what is named, in the only order that QEMU accepts: an export keeps its node and its bitmap busy, a job its nodes.
 * Three round trips however many disks. Idempotent. Rejects with the first refusal that is not "there is none", or TIMEOUT, after
 * having tried the rest: an export that hangs must not keep a job, which the guest's writes go through. Or with QMP_CLOSED.
 */
export async function removeOwnThings(
  qmp: Qmp,
  things: OwnThings,
  onStep: (step: RemovalStep) => Promise<void> | void = () => {},
): Promise<void> {
  await onStep("exports");
  const exports = things.exports.map(commands.deleteExport);
  const refusals = [...(await removeAndWait(qmp, exports, isExportEnd))];
  await onStep("jobs");
  const jobs = things.jobs.map(commands.cancelJob);
  refusals.push(...(await removeAndWait(qmp, jobs, isJobEnd)));
  await onStep("nodes");
  const nodes = things.nodes.map(commands.deleteNode);
  const bitmaps = things.bitmaps.map(({ node, name }) => commands.removeBitmap(node, name));
  refusals.push(...(await removeNow(qmp, [...nodes, ...bitmaps])));
  if (refusals[0]) throw refusals[0];
}

function isExportEnd(event: QmpEvent, command: QmpCommand): boolean {
  return event.event === "BLOCK_EXPORT_DELETED" && event.data.id === command.arguments.id;
}

function isJobEnd(event: QmpEvent, command: QmpCommand): boolean {
  const { event: name, data } = event;
  // "null" is the state of a job that is gone (QAPI JobStatus): its nodes are free.
  return (
    name === "JOB_STATUS_CHANGE" && data.status === "null" && data.id === command.arguments.device
  );
}

async function removeAndWait(
  qmp: Qmp,
  list: readonly QmpCommand[],
  isEnd: (event: QmpEvent, command: QmpCommand) => boolean,
): Promise<readonly Fault[]> {
  if (list.length === 0) return [];
  const unneeded = new AbortController();
  const options = { timeoutMs: endingTimeoutMs, signal: unneeded.signal };
  const ends = list.map((command) => qmp.waitForEvent((event) => isEnd(event, command), options));
  try {
    const answers = await qmp.executeAll(list);
    const awaited = ends.filter((_, index) => answers[index]?.ok);
    const late = (await Promise.allSettled(awaited)).flatMap(latenessOf);
    return [...answers.flatMap(refusalOf), ...late];
  } finally {
    unneeded.abort();
  }
}

function latenessOf(end: PromiseSettledResult<QmpEvent>): readonly Fault[] {
  if (end.status === "fulfilled") return [];
  if (isFault(end.reason, "TIMEOUT")) return [end.reason];
  throw end.reason;
}

async function removeNow(qmp: Qmp, list: readonly QmpCommand[]): Promise<readonly Fault[]> {
  if (list.length === 0) return [];
  return (await qmp.executeAll(list)).flatMap(refusalOf);
}

function refusalOf(answer: QmpAnswer): readonly Fault[] {
  if (answer.ok || isAbsence(answer.fault)) return [];
  return [answer.fault];
}

/** Whether QEMU refused because there is nothing of that name (its words, unchanged from 5.2 to 9.2). */
export function isAbsence(fault: Fault): boolean {
  if (fault.code !== "QMP_REFUSED") return false;
  if (fault.details.class === "DeviceNotFound") return true;
  return /not found|Failed to find node|Cannot find device/i.test(String(fault.details.desc));
}
