import { MIB } from "../base/units.ts";

/** Every time and size that a link's sender keeps to. */
export interface LinkBounds {
  /** Without any channel for so long the link is down and what is under way is given up. */
  readonly lostAfterMs: number;
  /** While chunks wait for answers and none comes for so long, they are given up; see `answerSlowness`. */
  readonly stalledAfterMs: number;
  /** Any other request is given up after so long without an answer while the link is up. */
  readonly callAnswerMsMax: number;
  /** A seal or an adoption may make the vault write for long. */
  readonly sealAnswerMsMax: number;
  /** From connecting to the vault's welcome. */
  readonly welcomeMsMax: number;
  /** Between pings of the first channel. */
  readonly pingEveryMs: number;
  /** Between pings of the others while they are idle. */
  readonly pingOthersEveryMs: number;
  /** A channel that is owed an answer and brought nothing for so long is pinged. */
  readonly quietMs: number;
  /** A ping unanswered for so long, with nothing else arriving either, ends its channel. */
  readonly pongMsMax: number;
  readonly redialMsMin: number;
  readonly redialMsMax: number;
  /** Bytes of chunks under way at first, and at least. */
  readonly windowBytesMin: number;
}

/** What holds unless `OpenLinkOptions.bounds` says otherwise. */
export const linkBounds: LinkBounds = {
  lostAfterMs: 3_000,
  stalledAfterMs: 20_000,
  callAnswerMsMax: 120_000,
  sealAnswerMsMax: 3_600_000,
  welcomeMsMax: 10_000,
  pingEveryMs: 5_000,
  pingOthersEveryMs: 30_000,
  quietMs: 2_000,
  pongMsMax: 6_000,
  redialMsMin: 200,
  redialMsMax: 10_000,
  windowBytesMin: 8 * MIB,
};

/** Channels of one link unless it is said otherwise. */
export const channelCountDefault = 4;
/** More channels than this help no link. */
export const channelCountMax = 16;
