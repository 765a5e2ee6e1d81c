import { isDeepStrictEqual } from "node:util";
import type { Clock } from "../base/clock.ts";
import type { Config } from "../cli/config-schema.ts";
import type { Source } from "../core/source.ts";
import { type PacedReads, pacedReads, type ReadsOutlook } from "../engine/pace-reads.ts";
import type { Pace } from "../engine/read-pace.ts";

type Production = Config["production"];

/** Spares a group's guests as the configuration that was read last says. */
export class GroupPace implements Pace {
  readonly #clock: Clock;
  readonly #onChange: (outlook: ReadsOutlook) => void;
  #source: Source | null = null;
  #production: Production;
  #reads: PacedReads;

  constructor(options: {
    clock: Clock;
    production: Production;
    onChange: (outlook: ReadsOutlook) => void;
  }) {
    this.#clock = options.clock;
    this.#onChange = options.onChange;
    this.#production = options.production;
    this.#reads = this.#make();
  }

  /** What the guests' writes cost now. */
  get outlook(): ReadsOutlook {
    return this.#reads.outlook;
  }

  /** The source whose guests are to be spared from now on. */
  watch(source: Source): void {
    this.#source = source;
    this.#reads = this.#make();
  }

  admit(lengthBytes: number, signal: AbortSignal): Promise<void> {
    return this.#reads.admit(lengthBytes, signal);
  }

  /** What was learned of the guests is kept unless their caps changed. */
  reload(production: Production): void {
    if (isDeepStrictEqual(production, this.#production)) return;
    this.#production = production;
    this.#reads = this.#make();
  }

  #make(): PacedReads {
    const { readBytesPerSecondMax, readOperationsPerSecondMax, guestWriteLatencyMaxSeconds } =
      this.#production;
    return pacedReads({
      clock: this.#clock,
      source: this.#source,
      bytesPerSecondMax: readBytesPerSecondMax,
      operationsPerSecondMax: readOperationsPerSecondMax,
      guestWriteLatencyMaxMs:
        guestWriteLatencyMaxSeconds === null ? null : guestWriteLatencyMaxSeconds * 1000,
      onChange: this.#onChange,
    });
  }
}
