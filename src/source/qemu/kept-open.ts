/** Things that are opened once for each key, however many ask at the same time, and anew when what was opened has died. */
export class KeptOpen<Key, Value> {
  readonly #opened = new Map<Key, Promise<Value | null>>();
  readonly #isAlive: (value: Value) => boolean;

  constructor(isAlive: (value: Value) => boolean) {
    this.#isAlive = isAlive;
  }

  /** The living one, or what `open` makes; null and failures are not kept. */
  async get(key: Key, open: () => Promise<Value | null>): Promise<Value | null> {
    for (;;) {
      const known = this.#opened.get(key);
      if (known === undefined) break;
      const value = await known.catch(() => null);
      if (value !== null && this.#isAlive(value)) return value;
      if (this.#opened.get(key) === known) this.#opened.delete(key);
    }
    // Nothing is awaited between the look above and this: whoever asks next finds it.
    const opening = open();
    this.#opened.set(key, opening);
    return await opening;
  }

  /** Stops keeping `value`, if it is still the one that is kept. */
  async drop(key: Key, value: Value): Promise<void> {
    const known = this.#opened.get(key);
    if (known === undefined || (await known.catch(() => null)) !== value) return;
    if (this.#opened.get(key) === known) this.#opened.delete(key);
  }

  /** All that are open and alive, once those being opened are. */
  async all(): Promise<readonly Value[]> {
    const values = await Promise.allSettled(this.#opened.values());
    return values.flatMap((outcome) =>
      outcome.status === "fulfilled" && outcome.value !== null && this.#isAlive(outcome.value)
        ? [outcome.value]
        : [],
    );
  }
}
