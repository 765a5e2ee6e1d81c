/** Which bytes of a request its reply has described so far: every byte exactly once, in any order. */
export class Coverage {
  /** Sorted, disjoint, not touching: start and end of each run that is described. */
  readonly #runs: [startBytes: number, endBytes: number][] = [];

  /** Adds [startBytes, endBytes); false when part of it was described before. */
  add(startBytes: number, endBytes: number): boolean {
    const index = this.#firstEndingAfter(startBytes);
    const following = this.#runs[index];
    if (following !== undefined && following[0] < endBytes) return false;
    const previous = this.#runs[index - 1];
    const joinsPrevious = previous !== undefined && previous[1] === startBytes;
    const joinsFollowing = following !== undefined && following[0] === endBytes;
    if (joinsPrevious && joinsFollowing) {
      previous[1] = following[1];
      this.#runs.splice(index, 1);
    } else if (joinsPrevious) previous[1] = endBytes;
    else if (joinsFollowing) following[0] = startBytes;
    else this.#runs.splice(index, 0, [startBytes, endBytes]);
    return true;
  }

  /** Whether exactly [0, lengthBytes) is described. */
  isWhole(lengthBytes: number): boolean {
    const first = this.#runs[0];
    const isOne = first !== undefined && this.#runs.length === 1;
    return isOne && first[0] === 0 && first[1] === lengthBytes;
  }

  #firstEndingAfter(startBytes: number): number {
    let low = 0;
    let high = this.#runs.length;
    while (low < high) {
      const middle = (low + high) >>> 1; // Indexes, never offsets.
      if (this.#runs[middle]![1] > startBytes) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
