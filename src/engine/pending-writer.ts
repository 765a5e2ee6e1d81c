import type { PointWriter } from "../core/journal.ts";

/** A delta whose file is still being made. Disposing waits for it and gives it up, unless it was sealed. */
export class PendingWriter<Writer extends PointWriter> implements AsyncDisposable {
  /** Rejects with what beginning the delta rejected with. */
  readonly ready: Promise<Writer>;

  constructor(beginning: Promise<Writer>) {
    this.ready = beginning;
    beginning.catch(() => {}); // Told to whoever needs the writer.
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const writer = await this.ready.catch(() => null);
    await writer?.[Symbol.asyncDispose]();
  }
}
