import type { DeltaIndex } from "../format/delta-index.ts";

/** One delta's entries for a disk; `disk` is the disk's place in that delta. */
export interface OverlayLayer {
  readonly index: DeltaIndex;
  readonly disk: number;
}

/** A run of the disk that reads from one entry of one layer. */
export interface OverlayRun {
  /** Place in the list of layers. */
  readonly layer: number;
  readonly entry: number;
  readonly offsetBytes: number;
  readonly endBytes: number;
}

/** What a disk reads from, in order, where any layer has something: the newest layer wins. Layers are oldest first. */
export function* overlay(layers: readonly OverlayLayer[]): Generator<OverlayRun, void, undefined> {
  const cursors = layers.map(({ index, disk }) => index.seek(disk, 0));
  const startAt = (layer: number): number => {
    const { index, disk } = layers[layer]!;
    const entry = cursors[layer]!;
    const isThere = entry < index.entryCount && index.disk(entry) === disk;
    return isThere ? index.offsetBytes(entry) : Number.POSITIVE_INFINITY;
  };
  let at = 0;
  for (;;) {
    // Down from the newest: the first layer that covers `at` wins, up to where a newer one begins.
    let endBytes = Number.POSITIVE_INFINITY;
    let layer = layers.length - 1;
    for (; layer >= 0; layer -= 1) {
      const start = startAt(layer);
      if (start <= at) break;
      endBytes = Math.min(endBytes, start);
    }
    if (layer < 0) {
      if (endBytes === Number.POSITIVE_INFINITY) return;
      at = endBytes;
      continue;
    }
    const entry = cursors[layer]!;
    endBytes = Math.min(endBytes, layers[layer]!.index.endBytes(entry));
    yield { layer, entry, offsetBytes: at, endBytes };
    at = endBytes;
    for (const [place, { index, disk }] of layers.entries()) {
      let cursor = cursors[place]!;
      while (
        cursor < index.entryCount &&
        index.disk(cursor) === disk &&
        index.endBytes(cursor) <= at
      ) {
        cursor += 1;
      }
      cursors[place] = cursor;
    }
  }
}
