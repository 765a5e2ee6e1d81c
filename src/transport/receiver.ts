import type { Clock } from "../base/clock.ts";
import type { Fault } from "../base/fault.ts";
import type { Prng } from "../base/prng.ts";
import type { Channel, Peer } from "../core/channel.ts";
import type { GroupName } from "../core/ids.ts";
import type { JournalIntake } from "../core/journal.ts";
import type { WireVersions } from "../format/wire-limits.ts";
import type { ReceiverBounds } from "./receiver-bounds.ts";

/** What a vault's end of all its links is made of. */
export interface LinkReceiverOptions {
  /**
   * The group's journal for this peer, when its session first speaks of the group. The receiver disposes it when the session
   * ends or a newer one of the same peer takes the group over. A Fault refuses; it is told to the peer.
   */
  readonly openGroup: (peer: Peer, group: GroupName) => Promise<JournalIntake>;
  readonly clock: Clock;
  readonly prng: Prng;
  /** Whether other threads may hash; false where everything must be replayed. */
  readonly usesThreads?: boolean;
  readonly onEvent?: (event: ReceiverEvent) => void;
  readonly bounds?: Partial<ReceiverBounds>;
  readonly versions?: WireVersions;
}

/** What happened at a vault's end, for its owner's log. */
export type ReceiverEvent =
  | { readonly kind: "session-opened"; readonly peer: Peer; readonly session: string }
  | {
      readonly kind: "session-ended";
      readonly peer: Peer;
      readonly session: string;
      readonly reason: string;
    }
  | { readonly kind: "channel-open"; readonly peer: Peer; readonly session: string }
  /** `fault` is null after an orderly end. LINK_PROTOCOL is worth an administrator's look. */
  | { readonly kind: "channel-closed"; readonly peer: Peer; readonly fault: Fault | null }
  /** A group's newer session took it over from an older one of the same peer. */
  | { readonly kind: "group-taken-over"; readonly peer: Peer; readonly group: GroupName };

/** A session as its vault sees it. */
export interface SessionStatus {
  readonly session: string;
  readonly peer: Peer;
  readonly channels: number;
  readonly groups: readonly GroupName[];
  /** On the monotonic clock. */
  readonly lastHeardMs: number;
  /** Of chunks taken from the wire, as they came. */
  readonly chunkBytes: number;
  /** Of these, sent again although they had arrived; thrown away. */
  readonly repeatedBytes: number;
}

/** The vault's end of all its links. */
export interface LinkReceiver extends AsyncDisposable {
  /** Takes over a channel whose peer is authenticated; whatever it brings, this neither throws nor rejects. */
  accept(channel: Channel): void;
  sessions(): readonly SessionStatus[];
  /** Ends every session of the peer and their channels at once, as revoking a certificate needs. */
  disconnect(peerId: string): Promise<void>;
}
