import { Fault } from "../base/fault.ts";
import { type FaultCode, faultTable } from "../base/fault-table.ts";
import { faultOf } from "../engine/fault-of.ts";

/** How a command that failed ends. */
export interface Failure {
  readonly exitCode: 1 | 2;
  /** One line for people, without a line's end. */
  readonly line: string;
  /** The same facts for programs. */
  readonly json: {
    readonly error: {
      readonly code: string;
      readonly message: string;
      readonly nextStep: string;
      readonly retry: boolean;
      readonly details: Fault["details"];
    };
  };
}

/** What to say about an error. An error that is no fault is a bug of ours and says so. */
export function failureOf(error: unknown): Failure {
  const fault = faultOf(error) ?? hostFault(error);
  if (fault === null) return bug(error);
  const { code, nextStep, retry, details } = fault;
  // A message is a sentence or a fragment; the line is built of both.
  const message = oneLine(fault.message).replace(/\.$/, "");
  return {
    exitCode: faultTable[code].exitCode,
    line: `afterimage: ${code}: ${message} — ${nextStep}`,
    json: { error: { code, message, nextStep, retry, details } },
  };
}

/** Directories for temporary files are made by the host's own calls, whose errors are no faults yet. */
function hostFault(error: unknown): Fault | null {
  if (!(error instanceof Error) || !("code" in error) || !("syscall" in error)) return null;
  const code = typeof error.code === "string" ? hostFaults[error.code] : undefined;
  return code === undefined ? null : new Fault(code, error.message, {}, { cause: error });
}

const hostFaults: Readonly<Record<string, FaultCode>> = {
  ENOENT: "STORAGE_MISSING",
  ENOTDIR: "STORAGE_MISSING",
  EACCES: "STORAGE_DENIED",
  EPERM: "STORAGE_DENIED",
  EROFS: "STORAGE_DENIED",
  ENOSPC: "STORAGE_FULL",
  EDQUOT: "STORAGE_FULL",
};

function bug(error: unknown): Failure {
  const message = oneLine(error instanceof Error ? error.message : String(error));
  const nextStep = "This is a bug; run it again with AFTERIMAGE_TRACE=1 and report what it says.";
  return {
    exitCode: 2,
    line: `afterimage: BUG: ${message} — ${nextStep}`,
    json: { error: { code: "BUG", message, nextStep, retry: false, details: {} } },
  };
}

/** Error, causes and stacks, for AFTERIMAGE_TRACE. */
export function traceOf(error: unknown): string {
  const parts: string[] = [];
  for (let at: unknown = error; at instanceof Error; at = at.cause)
    parts.push(at.stack ?? at.message);
  return parts.join("\ncaused by: ");
}

function oneLine(text: string): string {
  return text.replace(/\s*[\r\n]+\s*/g, " ").trim();
}
