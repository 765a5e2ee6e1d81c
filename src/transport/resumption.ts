import { encodeResume } from "../format/wire-control.ts";
import { wireFault } from "../format/wire-frame.ts";
import { resumeChannelsMax } from "../format/wire-limits.ts";
import type { LinkChannel } from "./link-channel.ts";
import type { Outgoing } from "./outgoing.ts";
import type { Outstanding } from "./outstanding.ts";

/** Asks the vault, after channels ended, which of the requests that they carried it has. */
export class Resumption {
  readonly #outstanding: Outstanding;
  readonly #asked = new Map<
    number,
    { readonly channel: LinkChannel; readonly requests: readonly number[] }
  >();
  #deadChannels: number[] = [];
  #nextSerial = 1;

  constructor(outstanding: Outstanding) {
    this.#outstanding = outstanding;
  }

  /** A channel that had joined is over: what it owed, and what was asked on it, has to be asked for. */
  lost(channel: LinkChannel): void {
    for (const [serial, asked] of this.#asked) {
      if (asked.channel === channel) this.#asked.delete(serial);
    }
    this.#deadChannels.push(channel.number);
    if (this.#deadChannels.length > resumeChannelsMax) this.#deadChannels.shift();
    this.#outstanding.orphan(channel);
  }

  /** What to ask on `channel`, which owes the answers from now on; null when no request lacks a channel. */
  ask(channel: LinkChannel): { readonly serial: number; readonly body: Uint8Array } | null {
    const orphans = this.#outstanding.orphans();
    if (orphans.length === 0) return null;
    for (const request of orphans) this.#outstanding.owe(request, channel);
    const requests = orphans.map(({ number }) => number);
    const serial = this.#nextSerial++;
    this.#asked.set(serial, { channel, requests });
    return { serial, body: encodeResume({ channels: this.#deadChannels, requests }) };
  }

  /** What the vault lacks, in order, no channel owing it any more. LINK_PROTOCOL when it was not asked that. */
  answered(serial: number, channel: LinkChannel, states: Uint8Array): readonly Outgoing[] {
    const asked = this.#asked.get(serial);
    if (asked === undefined || asked.channel !== channel) throw wireFault("an answer unasked");
    if (states.length !== asked.requests.length) throw wireFault("a standing has another length");
    this.#asked.delete(serial);
    const lacking = asked.requests.flatMap((number, place) => {
      const request = states[place] === 0 ? this.#outstanding.get(number) : undefined;
      return request === undefined ? [] : [request];
    });
    for (const request of lacking) this.#outstanding.disown(request);
    return lacking;
  }

  /** Nothing of before is asked for any more. */
  clear(): void {
    this.#asked.clear();
    this.#deadChannels = [];
  }
}
