/** Rows of one part; parts are never copied while the table grows. */
const partRows = 16_384;
const firstPartRows = 64;

/** Some neighbouring rows of a table: its three columns, equally long. */
export type Rows = readonly [Uint32Array, Uint32Array, Uint32Array];

/** Rows of three 32-bit numbers, kept as columns that grow; for tables too long for an object per row. */
export class GrowingColumns {
  readonly #full: Uint32Array[] = [];
  /** The part that is being filled: its three columns one behind the other. */
  #part: Uint32Array = new Uint32Array(0);
  #partRows = 0;
  #used = 0;
  #rows = 0;

  get rows(): number {
    return this.#rows;
  }

  push(first: number, second: number, third: number): void {
    if (this.#used === this.#partRows) this.#nextPart();
    const part = this.#part;
    part[this.#used] = first;
    part[this.#partRows + this.#used] = second;
    part[2 * this.#partRows + this.#used] = third;
    this.#used += 1;
    this.#rows += 1;
  }

  /** The rows in their order, part by part; not copied. */
  *parts(): Generator<Rows, void, undefined> {
    for (const part of this.#full) yield rowsOf(part, part.length / 3, part.length / 3);
    if (this.#used > 0) yield rowsOf(this.#part, this.#partRows, this.#used);
  }

  #nextPart(): void {
    if (this.#partRows > 0) this.#full.push(this.#part);
    this.#partRows = this.#rows === 0 ? firstPartRows : partRows;
    this.#part = new Uint32Array(3 * this.#partRows);
    this.#used = 0;
  }
}

function rowsOf(part: Uint32Array, capacity: number, rows: number): Rows {
  const column = (place: number) => part.subarray(place * capacity, place * capacity + rows);
  return [column(0), column(1), column(2)];
}
