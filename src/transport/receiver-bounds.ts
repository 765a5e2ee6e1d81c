import { MIB } from "../base/units.ts";
import { callsOutstandingMax } from "../format/wire-limits.ts";

/** Every time, count and size that a vault's end keeps to. */
export interface ReceiverBounds {
  /** From accepting a channel to its hello. */
  readonly helloMsMax: number;
  /** A channel that brings nothing for so long is over. The sender pings every 30 s. */
  readonly silenceMsMax: number;
  /** A session without channels ends after so long, with all it had open. */
  readonly sessionKeptMs: number;
  readonly sessionsMax: number;
  /** Of one replicator; a further one ends the oldest of them that has no channel. */
  readonly sessionsPerPeerMax: number;
  readonly channelsMax: number;
  readonly channelsPerSessionMax: number;
  readonly groupsPerSessionMax: number;
  readonly streamsPerSessionMax: number;
  /** Requests that are neither chunks nor confirmed, per session. */
  readonly callsPerSessionMax: number;
  /** Of answers that were not confirmed, per session: beyond it no request is taken, at twice as much the session ends. */
  readonly answersBytesMax: number;
  /** Of chunks and staged writes received and not yet executed, over all sessions. */
  readonly memoryBytes: number;
  /** The most that one session is granted of it. */
  readonly sessionBytesMax: number;
  /** Chunks of one stream handed to the journal at a time. */
  readonly writesPerStreamMax: number;
}

/** What holds unless `LinkReceiverOptions.bounds` says otherwise. */
export const receiverBounds: ReceiverBounds = {
  helloMsMax: 10_000,
  silenceMsMax: 95_000,
  sessionKeptMs: 600_000,
  sessionsMax: 32,
  sessionsPerPeerMax: 4,
  channelsMax: 256,
  channelsPerSessionMax: 16,
  groupsPerSessionMax: 256,
  streamsPerSessionMax: 512,
  callsPerSessionMax: callsOutstandingMax,
  answersBytesMax: 32 * MIB,
  memoryBytes: 96 * MIB,
  sessionBytesMax: 48 * MIB,
  writesPerStreamMax: 8,
};
