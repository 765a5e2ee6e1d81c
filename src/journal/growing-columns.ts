import assert from "node:assert/strict";

const rowsAtFirst = 64;

/** Rows of up to three 32-bit numbers, kept as columns that grow; for tables too long for an object per row. */
export class GrowingColumns {
  readonly #columns: Uint32Array[];
  #rows = 0;

  constructor(columns: 1 | 2 | 3) {
    this.#columns = Array.from({ length: columns }, () => new Uint32Array(0));
  }

  get rows(): number {
    return this.#rows;
  }

  /** Appends a row; numbers of columns that the table does not have are not looked at. */
  push(first: number, second = 0, third = 0): void {
    const columns = this.#columns;
    if (this.#rows === columns[0]!.length) this.#grow();
    columns[0]![this.#rows] = first;
    if (columns.length > 1) columns[1]![this.#rows] = second;
    if (columns.length > 2) columns[2]![this.#rows] = third;
    this.#rows += 1;
  }

  /** The column as it is now; not copied. */
  column(index: number): Uint32Array {
    const column = this.#columns[index];
    assert(column !== undefined, "no such column");
    return column.subarray(0, this.#rows);
  }

  #grow(): void {
    const capacity = Math.max(rowsAtFirst, Math.ceil(this.#rows * 1.5));
    for (const [index, column] of this.#columns.entries()) {
      const grown = new Uint32Array(capacity);
      grown.set(column);
      this.#columns[index] = grown;
    }
  }
}
