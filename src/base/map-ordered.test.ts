import { describe, expect, it } from "vitest";
import { mapOrdered } from "./map-ordered.ts";

async function collect<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const found: Item[] = [];
  for await (const item of items) found.push(item);
  return found;
}

describe("mapOrdered", () => {
  it("yields in the order of the input although work ends in another", async () => {
    const doors = [0, 1, 2].map(() => Promise.withResolvers<void>());
    const results = collect(
      mapOrdered([0, 1, 2], 3, async (index) => {
        await doors[index]!.promise;
        return index;
      }),
    );
    for (const index of [2, 0, 1]) doors[index]!.resolve();
    expect(await results).toEqual([0, 1, 2]);
  });

  it("never runs more than the limit", async () => {
    let running = 0;
    let most = 0;
    await collect(
      mapOrdered(Array.from({ length: 20 }).keys(), 3, async () => {
        running += 1;
        most = Math.max(most, running);
        await new Promise(setImmediate);
        running -= 1;
      }),
    );
    expect(most).toBe(3);
  });

  it("waits for the work under way before it reports a failure, so that buffers are free again", async () => {
    const door = Promise.withResolvers<void>();
    let isSecondDone = false;
    const results = collect(
      mapOrdered([0, 1], 2, async (index) => {
        if (index === 0) throw new Error("first failed");
        await door.promise;
        isSecondDone = true;
      }),
    );
    queueMicrotask(() => door.resolve());
    await expect(results).rejects.toThrow("first failed");
    expect(isSecondDone).toBe(true);
  });

  it("waits for the work under way when the consumer leaves early", async () => {
    let done = 0;
    const count = async () => {
      await new Promise(setImmediate);
      done += 1;
    };
    for await (const _ of mapOrdered([0, 1, 2], 3, count)) break;
    expect(done).toBe(3);
  });
});
