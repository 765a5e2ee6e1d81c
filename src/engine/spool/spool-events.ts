import type { Fault } from "../../base/fault.ts";
import type { PointId } from "../../core/ids.ts";
import type { Route } from "../cycle-intake.ts";

/** How full a group's spool is. */
export interface SpoolStatus {
  /** Points that wait to be shipped. */
  readonly points: number;
  /** Of their files. */
  readonly bytes: number;
  /** Of the oldest point that waits, from the lower bound of its instant; null when none does. */
  readonly oldestAgeSeconds: number | null;
  /** Until everything that waits is shipped, at the link's rate of late; null while that is not known. */
  readonly shippingEtaSeconds: number | null;
  /** Of all groups, and what they may take together. */
  readonly usedBytes: number;
  readonly capBytes: number;
}

/** What a spool tells. */
export type SpoolEvent =
  /** After each change of what waits. */
  | { readonly type: "spool"; readonly status: SpoolStatus }
  /** Points go another way than before; `reason` is a sentence. */
  | { readonly type: "route"; readonly route: Route; readonly reason: string }
  /** The cap or the reserve is reached: no points are cut, bitmaps gather. Once until there is room again. */
  | { readonly type: "spool-full"; readonly fault: Fault }
  /** Points were dropped that had been cut: history has a hole, data has none. Null and 0 when nobody knows which. */
  | {
      readonly type: "hole";
      readonly points: number;
      readonly fromSequence: number | null;
      readonly toSequence: number | null;
      readonly reason: string;
    }
  /** The vault acknowledged a point that had waited. */
  | {
      readonly type: "shipped";
      readonly point: PointId;
      readonly sequence: number;
      /** Of its file. */
      readonly bytes: number;
      readonly durationSeconds: number;
      /** What a loss of this site just before would have cost: from what the vault had acknowledged till then. */
      readonly rpoSeconds: number;
      /** From the lower bound of its instant to the acknowledgement. */
      readonly lagSeconds: number;
    }
  /** Shipping failed and is tried again; never for the first loss of a link that is merely down. */
  | { readonly type: "shipping-delayed"; readonly fault: Fault; readonly delaySeconds: number }
  /** Shipping has stopped: another holds the group. A person must act; once the group is ours again it goes on. */
  | { readonly type: "shipping-stopped"; readonly fault: Fault }
  /** What the spool knows could not be written down; it matters only if this process is killed while the vault is away. */
  | { readonly type: "spool-state-behind"; readonly fault: Fault };
