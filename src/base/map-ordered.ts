import assert from "node:assert/strict";

/**
 * Runs `work` on up to `limit` items at once and yields results in the order of the input.
 * The first failure rejects the generator after the work under way has settled; leaving early also waits for it,
 * so buffers that `work` was given are free again when the loop has ended.
 */
export async function* mapOrdered<Input, Output>(
  source: AsyncIterable<Input> | Iterable<Input>,
  limit: number,
  work: (item: Input) => Promise<Output>,
): AsyncGenerator<Output, void, undefined> {
  assert(Number.isInteger(limit) && limit >= 1, "mapOrdered needs room for one");
  const underWay: Promise<Output>[] = [];
  try {
    for await (const item of source) {
      const running = work(item);
      running.catch(() => {}); // Reported when its turn comes.
      underWay.push(running);
      if (underWay.length >= limit) yield await underWay.shift()!;
    }
    while (underWay.length > 0) yield await underWay.shift()!;
  } finally {
    await Promise.allSettled(underWay);
  }
}
