import type { NbdBlockSizes } from "./client-negotiation.ts";
import type { NbdExport } from "./export.ts";
import { payloadBytesMax, preferredBlockBytes } from "./limits.ts";
import { transmissionFlag } from "./protocol.ts";

/** The export's block sizes, its maximum cut to what this server takes. */
export function blockSizesOf(found: NbdExport): NbdBlockSizes {
  const asked = found.blockSizes;
  return {
    minimumBytes: asked?.minimumBytes ?? 1,
    preferredBytes: asked?.preferredBytes ?? preferredBlockBytes,
    maximumBytes: Math.min(asked?.maximumBytes ?? payloadBytesMax, payloadBytesMax),
  };
}

/** What the export can do, as the protocol says it. */
export function transmissionFlagsOf(found: NbdExport, hasStructuredReplies: boolean): number {
  let flags: number = transmissionFlag.hasFlags;
  if (found.canMultiConnect ?? true) flags |= transmissionFlag.canMultiConn;
  if (hasStructuredReplies) flags |= transmissionFlag.sendDf;
  if (found.cache !== undefined) flags |= transmissionFlag.sendCache;
  if (found.flush !== undefined) flags |= transmissionFlag.sendFlush | transmissionFlag.sendFua;
  if (isReadOnly(found)) return flags | transmissionFlag.readOnly;
  if (found.trim !== undefined) flags |= transmissionFlag.sendTrim;
  if (found.zero !== undefined) {
    flags |= transmissionFlag.sendWriteZeroes;
    if (found.zeroesFast ?? false) flags |= transmissionFlag.sendFastZero;
  }
  return flags;
}

/** An export that says it is, or that cannot write. */
export function isReadOnly(found: NbdExport): boolean {
  return found.isReadOnly || found.write === undefined;
}
