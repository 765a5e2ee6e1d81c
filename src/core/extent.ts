/** A run of bytes on a disk, half-open: [offsetBytes, offsetBytes + lengthBytes); both multiples of a sector. */
export interface Run {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/** A run together with what it reads as. */
export interface Extent extends Run {
  readonly state: "data" | "zero";
}
