import type { Fault } from "../base/fault.ts";
import type { GroupName } from "../core/ids.ts";
import { encodeFrameHeader, type FrameType } from "../format/wire-frame.ts";
import { frameHeaderLengthBytes } from "../format/wire-limits.ts";
import type { LinkChannel } from "./link-channel.ts";

/** What is known of a stream at the sender: which of a session, and since when it owes nothing. */
export interface OutgoingStream {
  readonly number: number;
  readonly group: GroupName;
  /** Chunks sent and not answered, in bytes of frames. */
  outstandingBytes: number;
  /** When a chunk was last answered, or first sent after a rest; on the monotonic clock. */
  progressAtMs: number;
  /** Why nothing more may be asked of it. */
  fault: Fault | null;
}

/** A request on its way. Its number is given when it is first sent. */
export interface Outgoing {
  readonly type: Extract<FrameType, "call" | "chunk">;
  readonly group: GroupName;
  /** Null where no stream is meant. */
  readonly stream: OutgoingStream | null;
  /** Gone once nobody waits for the answer: the buffers are the caller's again. */
  body: readonly Uint8Array[] | null;
  /** Of the whole frame. */
  readonly lengthBytes: number;
  readonly answerMsMax: number | null;
  readonly resolve: (body: Uint8Array) => void;
  readonly reject: (fault: unknown) => void;
  /** Called once, when the request is first given to a channel. */
  readonly onSent?: () => void;
  number: number;
  sentAtMs: number;
  /** The channel that brings, or is to bring, the answer; null when that is over. */
  channel: LinkChannel | null;
}

/** An outgoing request that was not sent yet. */
export function outgoing(
  request: Pick<Outgoing, "type" | "group" | "stream" | "answerMsMax" | "resolve" | "reject"> & {
    readonly body: readonly Uint8Array[];
    readonly onSent?: () => void;
  },
): Outgoing {
  const bodyLengthBytes = request.body.reduce((sum, part) => sum + part.length, 0);
  const lengthBytes = frameHeaderLengthBytes + bodyLengthBytes;
  return { ...request, lengthBytes, number: 0, sentAtMs: 0, channel: null };
}

/** The frame as it goes on the wire. */
export function frameOf(request: Outgoing, watermark: number): readonly Uint8Array[] {
  const header = encodeFrameHeader({
    type: request.type,
    bodyLengthBytes: request.lengthBytes - frameHeaderLengthBytes,
    stream: request.stream?.number ?? 0,
    request: request.number,
    watermark,
  });
  return [header, ...(request.body ?? [])];
}
