/**
 * Runs what the vault does in the background one at a time: a request during a run means one more run after it, however many
 * requests there were. Never in the way of a seal.
 */
export class Maintenance implements AsyncDisposable {
  readonly #work: (options: { signal: AbortSignal }) => Promise<unknown>;
  readonly #onError: (error: unknown) => void;
  readonly #abort = new AbortController();
  #running: Promise<void> | null = null;
  #isWanted = false;
  /** What `onError` itself threw: a bug, told to whoever comes next. */
  #failure: { readonly error: unknown } | null = null;

  constructor(options: {
    work: (options: { signal: AbortSignal }) => Promise<unknown>;
    onError: (error: unknown) => void;
  }) {
    this.#work = options.work;
    this.#onError = options.onError;
  }

  /** Asks for a run; returns at once. Throws what `onError` threw before. */
  request(): void {
    this.#throwFailure();
    this.#isWanted = true;
    this.#running ??= this.#run();
  }

  /** Resolves when nothing asked for is left to do. */
  async settled(): Promise<void> {
    await this.#running;
    this.#throwFailure();
  }

  /** Stops the run under way and waits for it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isWanted = false;
    this.#abort.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (this.#isWanted) {
      this.#isWanted = false;
      try {
        await this.#work({ signal: this.#abort.signal });
      } catch (error) {
        this.#report(error);
      }
    }
    this.#running = null;
  }

  #report(error: unknown): void {
    if (this.#abort.signal.aborted) return;
    try {
      this.#onError(error);
    } catch (failure) {
      this.#failure = { error: failure };
    }
  }

  #throwFailure(): void {
    if (this.#failure !== null) throw this.#failure.error;
  }
}
