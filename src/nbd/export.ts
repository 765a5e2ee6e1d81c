import type { Extent } from "../core/extent.ts";
import type { NbdBlockSizes } from "./client-negotiation.ts";

/** How an export is to write zeroes. */
export interface NbdZeroOptions {
  /** Whether the space may be given back. */
  readonly mayPunch: boolean;
  readonly signal: AbortSignal;
}

/**
 * A disk as our NBD server shows it. What an optional method would do is advertised only when it is there. Ranges are
 * checked against `sizeBytes` and `blockSizes` before they come here; many calls are under way at once. Rejections become
 * error numbers: STORAGE_FULL and SCRATCH_FULL ENOSPC, STORAGE_DENIED EPERM, USAGE EINVAL, ABORTED ESHUTDOWN, all else EIO.
 * `signal` aborts when nobody waits for the answer any more. A buffer belongs to the export until the call settles.
 */
export interface NbdExport {
  readonly sizeBytes: number;
  readonly isReadOnly: boolean;
  /** For people. */
  readonly description?: string;
  /** Default: 1 byte, 4 KiB, 32 MiB. */
  readonly blockSizes?: NbdBlockSizes;
  /** False when two connections might not see one another's flushed writes. Default true. */
  readonly canMultiConnect?: boolean;
  /** Whether `zero` is never slower than writing zeroes. Default false. */
  readonly zeroesFast?: boolean;
  /** Fills all of `into` from `offsetBytes`. */
  read(offsetBytes: number, into: Uint8Array, signal: AbortSignal): Promise<void>;
  write?(offsetBytes: number, from: Uint8Array, signal: AbortSignal): Promise<void>;
  zero?(offsetBytes: number, lengthBytes: number, options: NbdZeroOptions): Promise<void>;
  trim?(offsetBytes: number, lengthBytes: number, signal: AbortSignal): Promise<void>;
  /** Makes every write that was answered durable. */
  flush?(signal: AbortSignal): Promise<void>;
  cache?(offsetBytes: number, lengthBytes: number, signal: AbortSignal): Promise<void>;
  /** What is data and what reads as zero, in order, without gaps, from `offsetBytes` on; may stop short, not at once. */
  extents?(
    offsetBytes: number,
    lengthBytes: number,
    signal: AbortSignal,
  ): Promise<readonly Extent[]>;
}

/** Where the server finds exports. An export is shared by all connections to it and outlives them. */
export interface NbdExports {
  /** Names for LIST; may be fewer than `find` knows. */
  list(): Promise<readonly { readonly name: string; readonly description: string }[]>;
  /** The export of that name, or null. */
  find(name: string): Promise<NbdExport | null>;
}

/** Exports out of a map that never changes. */
export function fixedExports(exports: ReadonlyMap<string, NbdExport>): NbdExports {
  return {
    list: async () =>
      [...exports].map(([name, found]) => ({ name, description: found.description ?? "" })),
    find: async (name) => exports.get(name) ?? null,
  };
}
