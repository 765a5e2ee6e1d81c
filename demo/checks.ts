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
