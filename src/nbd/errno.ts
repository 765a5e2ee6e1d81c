import { isFault } from "../base/fault.ts";
import type { FaultCode } from "../base/fault-table.ts";

/** Error numbers the protocol allows on the wire (doc/proto.md, "Error values"). */
export const errno = {
  EPERM: 1,
  EIO: 5,
  ENOMEM: 12,
  EINVAL: 22,
  ENOSPC: 28,
  EOVERFLOW: 75,
  ENOTSUP: 95,
  ESHUTDOWN: 108,
} as const;

const names = new Map<number, string>(Object.entries(errno).map(([name, value]) => [value, name]));

/** "EIO", or "error 42" for a number the protocol does not define. */
export function errnoName(value: number): string {
  return names.get(value) ?? `error ${value}`;
}

const errnoOfFault: Partial<Record<FaultCode, number>> = {
  STORAGE_FULL: errno.ENOSPC,
  SCRATCH_FULL: errno.ENOSPC,
  STORAGE_DENIED: errno.EPERM,
  USAGE: errno.EINVAL,
  ABORTED: errno.ESHUTDOWN,
};

/** What to tell a client about a failure of an export: the protocol's nearest number, EIO when there is none. */
export function errnoOf(error: unknown): number {
  return (isFault(error) ? errnoOfFault[error.code] : undefined) ?? errno.EIO;
}
