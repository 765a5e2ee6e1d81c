import type { Prng } from "../../src/base/prng.ts";
import { between, happens } from "../chance.ts";
import type { OpenVault } from "../vault.ts";

const heldMsMax = 30_000;

/** People at the recovery site hand the group to another replicator, and later back. */
export class Takeover {
  readonly #holder: string;
  readonly #rival: string;
  readonly #prng: Prng;
  readonly #rate: number;
  readonly #onTaken: () => void;
  readonly #onGivenBack: () => void;
  #untilMs = 0;

  constructor(options: {
    holder: string;
    rival: string;
    prng: Prng;
    /** Chance each time that it is looked at. */
    rate: number;
    onTaken: () => void;
    onGivenBack: () => void;
  }) {
    this.#holder = options.holder;
    this.#rival = options.rival;
    this.#prng = options.prng;
    this.#rate = options.rate;
    this.#onTaken = options.onTaken;
    this.#onGivenBack = options.onGivenBack;
  }

  /** One look at who holds the group. */
  async look({ journal }: OpenVault, { isCalm, nowMs }: { isCalm: boolean; nowMs: number }) {
    const { generation } = journal;
    if (generation === null) return;
    if (generation.holder !== this.#holder) {
      if (!isCalm && nowMs < this.#untilMs) return;
      await journal.raiseGeneration({ holder: this.#holder, reason: "the drill is over" });
      this.#onGivenBack();
      return;
    }
    if (isCalm || !happens(this.#prng, this.#rate)) return;
    this.#untilMs = nowMs + between(this.#prng, 0, heldMsMax);
    await journal.raiseGeneration({ holder: this.#rival, reason: "a drill" });
    this.#onTaken();
  }
}
