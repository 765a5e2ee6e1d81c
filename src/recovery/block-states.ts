import { GIB } from "../base/units.ts";
import { blockSizeBytes } from "../core/limits.ts";

/** Where a block of a throw-away layer is found: in the view beneath, in the layer's file, or nowhere because it is zero. */
export type BlockState = "beneath" | "data" | "zero";

const codes: readonly BlockState[] = ["beneath", "data", "zero"];
const pageBlocks = (4 * GIB) / blockSizeBytes;

/** The state of each block of a disk; only where something was written does it take memory, a byte a block. */
export class BlockStates {
  readonly #pages = new Map<number, Uint8Array>();

  get(block: number): BlockState {
    const page = this.#pages.get(Math.floor(block / pageBlocks));
    return codes[page?.[block % pageBlocks] ?? 0]!;
  }

  set(block: number, state: BlockState): void {
    const number = Math.floor(block / pageBlocks);
    let page = this.#pages.get(number);
    if (page === undefined) {
      page = new Uint8Array(pageBlocks);
      this.#pages.set(number, page);
    }
    page[block % pageBlocks] = codes.indexOf(state);
  }
}
