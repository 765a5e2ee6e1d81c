import type { Point } from "../src/core/point.ts";
import {
  type Acknowledgement,
  type DatabaseState,
  newestRowBefore,
} from "../test/guest/database-guest.ts";

/** One thing the demo claims, and whether it held. */
export interface Check {
  readonly name: string;
  readonly pass: boolean;
  /** The figures behind the verdict. */
  readonly detail: string;
}

/** A point that was started as a machine, and what its database held. */
export interface Recovered {
  /** "newest" or "older". */
  readonly label: string;
  readonly sequence: number;
  /** Lower bound of the point's instant, on the host's clock. */
  readonly takenAtMs: number;
  readonly state: DatabaseState;
}

/** While the link was away, on the host's clock. */
export interface Outage {
  readonly fromMs: number;
  readonly toMs: number;
}

/** Points a demo must have made before it may pass. */
export const pointsMin = 10;

/** Everything that must hold for one recovered point. `acknowledgements` are in order, on the clock of `takenAtMs`. */
export function checkRecovered(
  recovered: Recovered,
  acknowledgements: readonly Acknowledgement[],
): readonly Check[] {
  const { label, sequence, takenAtMs, state } = recovered;
  const owed = newestRowBefore(acknowledgements, takenAtMs);
  const lead = state.tickData - state.tickWal;
  return [
    {
      name: `${label}: no acknowledged row is missing`,
      // Rows are numbered without gaps: as many as the newest number means that all are there.
      pass: owed > 0 && state.newestRow >= owed && state.rows === state.newestRow,
      detail: `#${sequence} has ${state.rows} rows up to ${state.newestRow}; ${owed} were acknowledged before it`,
    },
    {
      name: `${label}: no row is damaged`,
      pass: state.rows > 0 && state.damagedRows === 0,
      detail: `${state.damagedRows} of ${state.rows} rows do not have the hash of their number`,
    },
    {
      name: `${label}: both disks show one instant`,
      // The guest makes the count durable on the data disk first, then on the log's, then counts on.
      pass: state.tickData > 0 && (lead === 0 || lead === 1),
      detail: `the order witness is ${state.tickData} on the data disk, ${state.tickWal} on the log's`,
    },
  ];
}

/** What must hold for the points together. */
export function checkHistory(options: {
  readonly points: number;
  readonly newest: Recovered;
  readonly older: Recovered;
}): readonly Check[] {
  const { points, newest, older } = options;
  return [
    {
      name: `at least ${pointsMin} points were sealed`,
      pass: points >= pointsMin,
      detail: `${points} points`,
    },
    {
      name: "the older point shows an older state",
      pass: older.takenAtMs < newest.takenAtMs && older.state.rows < newest.state.rows,
      detail: `#${older.sequence} has ${older.state.rows} rows, #${newest.sequence} has ${newest.state.rows}`,
    },
  ];
}

/** Points that were taken while the link was away are at the vault, and each follows the one before it. */
export function checkOutage(
  points: readonly Point[],
  outage: Outage,
  intervalSeconds: number,
): Check {
  const during = points.filter(
    ({ instant }) => instant.lowerMs >= outage.fromMs && instant.lowerMs <= outage.toMs,
  );
  const isChain = points.every(
    ({ fromPoint }, index) => index === 0 || fromPoint === points[index - 1]!.id,
  );
  const seconds = (outage.toMs - outage.fromMs) / 1000;
  // The first may be taken late, while the link is given up.
  const wanted = Math.floor(seconds / intervalSeconds) - 2;
  return {
    name: "the link was away and history has no hole",
    pass: isChain && during.length >= wanted,
    detail: `${during.length} points are from the ${seconds.toFixed(1)} s without a link`,
  };
}
