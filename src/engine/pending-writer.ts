import type { PointWriter } from "../core/journal.ts";

/** A delta whose file is still being made. Disposing waits for it and gives it up, unless it was sealed. */
export class PendingWriter implements AsyncDisposable {
  /** Rejects with what beginning the delta rejected with. */
  readonly ready: Promise<PointWriter>;

  constructor(beginning: Promise<PointWriter>) {
    this.ready = beginning;
    beginning.catch(() => {}); // Told to whoever needs the writer.
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const writer = await this.ready.catch(() => null);
    await writer?.[Symbol.asyncDispose]();
  }
}
