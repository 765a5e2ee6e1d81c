import type { Clock } from "../base/clock.ts";
import type { Fault } from "../base/fault.ts";
import type { Prng } from "../base/prng.ts";
import type { Dial, Peer } from "../core/channel.ts";
import type { DiskName, GroupName } from "../core/ids.ts";
import type { JournalIntake } from "../core/journal.ts";
import type { LinkHealth } from "../core/link.ts";
import type { WireVersions } from "../format/wire-limits.ts";
import type { LinkBounds } from "./link-bounds.ts";

/** What a link is made of. */
export interface OpenLinkOptions {
  readonly dial: Dial;
  readonly clock: Clock;
  readonly prng: Prng;
  /** Channels that are kept open, 4 unless given; 1 to 16. */
  readonly channelCount?: number;
  /** Whether other threads may hash and compress; false where everything must be replayed. */
  readonly usesThreads?: boolean;
  /** How a disk's chunks are to be stored; asked for each chunk. Raw unless given. */
  readonly codecOf?: (disk: DiskName, group: GroupName) => "raw" | "zstd";
  readonly onEvent?: (event: LinkEvent) => void;
  readonly bounds?: Partial<LinkBounds>;
  readonly versions?: WireVersions;
}

/** What happened to a link, for its owner's log. */
export type LinkEvent =
  | { readonly kind: "link-up"; readonly peer: Peer }
  /** No channel for too long, or the vault forgot the session: what was under way was given up. */
  | { readonly kind: "link-down"; readonly fault: Fault }
  | { readonly kind: "channel-open"; readonly channel: number; readonly peer: Peer }
  | { readonly kind: "channel-closed"; readonly channel: number; readonly fault: Fault | null }
  | { readonly kind: "dial-failed"; readonly fault: Fault; readonly retryInMs: number };

/** Bytes per second that may be sent, null for no cap. A group that is not named has none of its own. */
export interface LinkCaps {
  readonly link: number | null;
  readonly groups: ReadonlyMap<GroupName, number>;
}

/** What a group sent since the process started. */
export interface GroupTraffic {
  /** In chunks, before the codec. */
  readonly dataBytes: number;
  /** The same chunks as they were sent, each counted once: frame, piece list and payload. */
  readonly wireBytes: number;
  /** What was sent again because a channel ended. */
  readonly resentBytes: number;
  /** Chunks waiting for credit, caps or a channel. */
  readonly waitingBytes: number;
}

/** The sender's end of the way to one vault. It dials for as long as it is open. */
export interface Link extends AsyncDisposable {
  /**
   * A group's way to the vault; the same one for the same group. Calls reject with LINK_LOST at once while the link is down,
   * LINK_RESET when the vault began anew, LINK_STALLED when the vault took nothing for too long, and the vault's own faults.
   */
  intake(group: GroupName): LinkIntake;
  health(): LinkHealth;
  /** Why the last attempt to connect failed, until one succeeds. */
  dialFault(): Fault | null;
  /** The vault at the other end, as last seen. */
  peer(): Peer | null;
  /** Resolves when the link is up; rejects with the signal's reason. */
  whenUp(options: { readonly signal: AbortSignal }): Promise<void>;
  /** Called when the link goes up or down; what it returns ends that. */
  onChange(listener: (health: LinkHealth) => void): () => void;
  /** In force at once, for what is already waiting too. */
  setCaps(caps: LinkCaps): void;
  groupTraffic(group: GroupName): GroupTraffic;
}

/** A group's way to the vault. Disposing it ends nothing but its own use. */
export interface LinkIntake extends JournalIntake {
  readonly group: GroupName;
}
