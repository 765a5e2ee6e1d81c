import type { ClockComparison } from "./clock-comparison.ts";

/** How a link is, as far as its sender knows; a moment's truth. */
export interface LinkHealth {
  readonly isUp: boolean;
  /** Since when it is up, or down, on the monotonic clock. */
  readonly sinceMs: number;
  /** Smallest round trip of late; null before the first answer. */
  readonly roundTripMs: number | null;
  /** What arrived and was acknowledged of late while there was more to send; null while that is not known. */
  readonly bytesPerSecond: number | null;
  /** Null before the first answer. */
  readonly clock: ClockComparison | null;
  /** On the wire since the process started, both directions apart, encryption included. */
  readonly sentBytes: number;
  readonly receivedBytes: number;
  /** What was sent again because a connection ended before it was acknowledged. */
  readonly resentBytes: number;
}
