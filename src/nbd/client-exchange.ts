import type { Fault } from "../base/fault.ts";
import type { Coverage } from "./coverage.ts";

/** One run of a metadata context as the server described it; meaning of `flags` is the context's. */
export interface StatusRun {
  readonly lengthBytes: number;
  readonly flags: number;
}

/** A request as it goes to the server. */
export interface NbdRequest {
  readonly command: number;
  readonly flags: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** READ: filled by the reply; belongs to the connection until the request settles. */
  readonly into: Uint8Array | null;
  /** WRITE: the payload; must not change until the request settles. */
  readonly from: Uint8Array | null;
}

/** Runs per context id, in order from the request's offset; the last may reach past the request. */
export type Statuses = Map<number, readonly StatusRun[]>;

/** A request under way and what its reply has brought so far. */
export interface Exchange extends NbdRequest {
  readonly resolve: (statuses: Statuses | null) => void;
  readonly reject: (error: unknown) => void;
  /** Of a structured READ, from its first content chunk on. */
  coverage: Coverage | null;
  statuses: Statuses | null;
  chunks: number;
  /** The first error the server reported for it; its reply goes on to the last chunk. */
  fault: Fault | null;
}
