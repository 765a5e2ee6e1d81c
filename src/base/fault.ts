import { type FaultCode, faultTable } from "./fault-table.ts";

/** Facts about a fault, plain values with units in their names. */
export type FaultDetails = Readonly<Record<string, string | number | boolean | null>>;

/**
 * Something the world did to us (a full disk, a lost peer, a wrong config), as opposed to a bug of ours (an assertion).
 * `code` looks up retry, exit code and next step in the fault table; `details` are facts with units in their names.
 */
export class Fault extends Error {
  readonly code: FaultCode;
  readonly details: FaultDetails;

  constructor(
    code: FaultCode,
    message: string,
    details: FaultDetails = {},
    options?: { cause?: unknown },
  ) {
    super(message, options);
    this.name = "Fault";
    this.code = code;
    this.details = details;
  }

  /** Whether the same attempt may succeed later without a person doing something. */
  get retry(): boolean {
    return faultTable[this.code].retry;
  }

  /** What to do next, as a sentence for the administrator. */
  get nextStep(): string {
    return faultTable[this.code].nextStep;
  }
}

/** True when `error` is a Fault with one of `codes` (any Fault when none are given). */
export function isFault(error: unknown, ...codes: readonly FaultCode[]): error is Fault {
  return error instanceof Fault && (codes.length === 0 || codes.includes(error.code));
}

/** The first Fault in the chain of causes of `error`, or null. */
export function faultWithin(error: unknown): Fault | null {
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    if (at instanceof Fault) return at;
  }
  return null;
}
