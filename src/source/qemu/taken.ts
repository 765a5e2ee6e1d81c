import type { Consistency, Instant } from "../../core/point.ts";
import type { FrozenDisk } from "./machine-freeze.ts";

/** An instant over all disks of a group, and how it came about. */
export interface Taken {
  readonly instant: Instant;
  readonly consistency: Consistency;
  readonly disks: readonly FrozenDisk[];
}
