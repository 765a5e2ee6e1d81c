import { Fault, type FaultDetails } from "../base/fault.ts";

/** The part of a delta file in which damage was found. */
export type DeltaPart = "prologue" | "header" | "index" | "chunk" | "trailer";

/** DELTA_CORRUPT in a part of a delta; whoever knows the path adds it. */
export function deltaCorrupt(
  where: DeltaPart,
  message: string,
  details: FaultDetails = {},
  options?: { cause?: unknown },
): Fault {
  return new Fault("DELTA_CORRUPT", `delta ${where}: ${message}`, { ...details, where }, options);
}

/** DELTA_VERSION: well-formed, but of a version, codec or cipher that this program does not know. */
export function deltaTooNew(where: DeltaPart, message: string): Fault {
  return new Fault("DELTA_VERSION", `delta ${where}: ${message}`, { where });
}
