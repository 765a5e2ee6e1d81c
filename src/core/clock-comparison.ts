/** How two sites' wall clocks differ, measured in the link's own protocol. Order never depends on it. */
export interface ClockComparison {
  /** Vault's clock minus replicator's; may be negative. Whole milliseconds. */
  readonly offsetMs: number;
  /** The true offset lies within `offsetMs` plus or minus this. Whole milliseconds, at least 1. */
  readonly errorMs: number;
}
