import type { Clock } from "../src/base/clock.ts";
import { Fault } from "../src/base/fault.ts";
import type { Prng } from "../src/base/prng.ts";
import type { Channel, Dial } from "../src/core/channel.ts";
import { between, happens, pick } from "./chance.ts";
import { ChannelPair, type Parting, type Party } from "./channel-pair.ts";
import { linkLost } from "./pipe.ts";
import { Road, type Weather } from "./road.ts";

const dialPatienceMs = 20_000;
const garbageBytesMax = 300;

/** Who waits for calls. */
interface Listener {
  readonly party: Party;
  readonly accept: (channel: Channel) => void;
}

/**
 * The way between the sites. TLS is not simulated: channels are authenticated by construction, and what a peer is refused for
 * (revoked, expired) is a refusal of its calls.
 */
export class Network {
  readonly #clock: Clock;
  readonly #prng: Prng;
  readonly #roads: readonly [Road, Road];
  #weather: Weather;
  #pairs: ChannelPair[] = [];
  #listener: Listener | null = null;
  #downUntilMs = 0;
  #refusedUntilMs = 0;
  #silentUntilMs = 0;

  constructor(options: { clock: Clock; prng: Prng; weather: Weather }) {
    this.#clock = options.clock;
    this.#prng = options.prng;
    this.#weather = options.weather;
    const road = () => new Road({ ...options, weather: () => this.#weather });
    this.#roads = [road(), road()];
  }

  /** Connections that both ends still believe in, or one does. */
  get pairs(): readonly ChannelPair[] {
    this.#pairs = this.#pairs.filter((pair) => !pair.isOver);
    return this.#pairs;
  }

  get isDown(): boolean {
    return this.#nowMs() < this.#downUntilMs;
  }

  setWeather(weather: Weather): void {
    this.#weather = weather;
  }

  listen(listener: Listener): void {
    this.#listener = listener;
  }

  /** How a process makes channels. */
  dialFrom(party: Party): Dial {
    return async ({ signal }) => {
      const made = await this.#connect(party, signal);
      if (party.isOver()) return new Promise(() => {});
      return made;
    };
  }

  /** A process died, or ended; `parting` is drawn per connection by the caller's kind of death. */
  part(party: Party, parting: Parting): void {
    if (this.#listener?.party === party) this.#listener = null;
    for (const pair of this.pairs) {
      if (pair.ends.some((end) => end.party === party)) pair.part(party, parting);
    }
  }

  cutAll(): void {
    for (const pair of this.pairs) pair.cut();
    for (const road of this.#roads) road.clear();
  }

  cutOne(): void {
    const whole = this.pairs.filter((pair) => !pair.isBroken);
    if (whole.length > 0) pick(this.#prng, whole).cut();
  }

  /** One end says something that means nothing, and hangs up. */
  garble(): void {
    const whole = this.pairs.filter((pair) => !pair.isBroken);
    if (whole.length === 0) return;
    const pair = pick(this.#prng, whole);
    const garbage = new Uint8Array(between(this.#prng, 1, garbageBytesMax));
    this.#prng.fill(garbage);
    void pick(this.#prng, pair.ends).out.send(garbage);
    pair.isBroken = true;
    for (const end of pair.ends) end.out.closeBehind();
  }

  /** Nobody reaches the other side for so long. */
  goDown(durationMs: number): void {
    this.#downUntilMs = this.#nowMs() + durationMs;
    this.cutAll();
  }

  /** Nothing arrives for so long, one way or both; then everything does. */
  stall(durationMs: number): void {
    const untilMs = this.#nowMs() + durationMs;
    const roads = pick(this.#prng, [this.#roads, [this.#roads[0]], [this.#roads[1]]]);
    for (const road of roads) road.stalledUntilMs = untilMs;
  }

  /** Calls are refused, and what stands is cut: the peer was revoked. */
  refuse(durationMs: number): void {
    this.#refusedUntilMs = this.#nowMs() + durationMs;
    this.cutAll();
  }

  /** Calls are taken and nobody ever answers. */
  fallSilent(durationMs: number): void {
    this.#silentUntilMs = this.#nowMs() + durationMs;
  }

  /** From now on nothing goes wrong. */
  calm(): void {
    this.#downUntilMs = 0;
    this.#refusedUntilMs = 0;
    this.#silentUntilMs = 0;
    for (const road of this.#roads) road.stalledUntilMs = 0;
  }

  async #connect(party: Party, signal: AbortSignal): Promise<Channel> {
    const { latencyMs } = this.#weather;
    if (this.isDown && happens(this.#prng, 0.6)) await this.#giveUp(signal);
    await this.#clock.sleep(2 * latencyMs, { signal });
    if (this.isDown) throw linkLost("the network is unreachable");
    if (this.#nowMs() < this.#refusedUntilMs) {
      throw new Fault("PEER_REFUSED", "The vault does not believe us.");
    }
    const listener = this.#listener;
    if (listener === null || listener.party.isOver()) throw linkLost("nobody listens");
    const pair = new ChannelPair({
      clock: this.#clock,
      prng: this.#prng,
      parties: [party, listener.party],
      roads: this.#roads,
    });
    this.#pairs.push(pair);
    if (this.#nowMs() >= this.#silentUntilMs) listener.accept(pair.ends[1]);
    return pair.ends[0];
  }

  async #giveUp(signal: AbortSignal): Promise<never> {
    await this.#clock.sleep(between(this.#prng, 1, dialPatienceMs), { signal });
    throw linkLost("nobody answers");
  }

  #nowMs(): number {
    return this.#clock.monotonicMs();
  }
}
