/** A source of randomness that can be replayed; everything random in the product takes one. */
export interface Prng {
  /** A whole number in [0, bound); `bound` is 1 to 2^32. */
  below(bound: number): number;
  /** Fills `into` with random bytes. */
  fill(into: Uint8Array): void;
}

/** A seeded generator (sfc32): the same seed gives the same sequence on every machine. Not for secrets. */
export function seededPrng(seed: number): Prng {
  let a = 0x9e3779b9 ^ seed;
  let b = 0x243f6a88;
  let c = 0xb7e15162 ^ Math.floor(seed / 2 ** 32);
  let counter = 1;
  const next = (): number => {
    const sum = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum;
    return sum >>> 0;
  };
  for (let round = 0; round < 15; round += 1) next();
  return {
    below: (bound) => Math.floor((next() / 2 ** 32) * bound),
    fill: (into) => {
      for (let index = 0; index < into.length; index += 1) into[index] = next() & 0xff;
    },
  };
}

/** The operating system's randomness, fit for identities. */
export function systemPrng(): Prng {
  return {
    below: (bound) => {
      const word = new Uint32Array(1);
      globalThis.crypto.getRandomValues(word);
      return Math.floor((word[0]! / 2 ** 32) * bound);
    },
    fill: (into) => {
      const stepBytes = 65_536; // getRandomValues' own limit (W3C Web Cryptography, 10.1.1).
      for (let start = 0; start < into.length; start += stepBytes) {
        const part = into.subarray(start, start + stepBytes);
        part.set(globalThis.crypto.getRandomValues(new Uint8Array(part.length)));
      }
    },
  };
}

/** `lengthBytes` random bytes as lower-case hex. */
export function randomHex(prng: Prng, lengthBytes: number): string {
  const bytes = new Uint8Array(lengthBytes);
  prng.fill(bytes);
  return Buffer.from(bytes).toString("hex");
}
