import { webcrypto } from "node:crypto";
import { availableParallelism } from "node:os";
import { sha256 } from "../format/bytes.ts";
import { pieceCountOf, pieceStartOf } from "../format/delta-index.ts";
import { hashLengthBytes } from "../format/delta-limits.ts";

/** Makes piece lists: one SHA-256 per piece. */
export interface PieceHasher {
  /** `data` begins at `offsetBytes` of its disk and stays unchanged until it resolves. */
  list(offsetBytes: number, data: Uint8Array): Promise<Buffer>;
}

/**
 * A hasher that gives a share of the pieces to the host's threads while this one hashes the rest; without threads all happens
 * here. Handing a piece over costs a quarter of hashing it, so with two processors, of which writing takes one, a third is best.
 */
export function pieceHasher(options: { readonly usesThreads: boolean }): PieceHasher {
  const processors = availableParallelism();
  const share = !options.usesThreads || processors === 1 ? 0 : processors < 4 ? 1 / 3 : 3 / 4;
  let owed = 0;
  return {
    list: async (offsetBytes, data) => {
      const pieceCount = pieceCountOf(offsetBytes, data.length);
      const list = Buffer.allocUnsafe(pieceCount * hashLengthBytes);
      const pieceAt = (piece: number): Uint8Array =>
        data.subarray(
          pieceStartOf(offsetBytes, data.length, piece),
          pieceStartOf(offsetBytes, data.length, piece + 1),
        );
      owed += pieceCount * share;
      const away = Math.min(pieceCount, Math.floor(owed));
      owed -= away;
      const awayHashes: Promise<ArrayBuffer>[] = [];
      for (let piece = 0; piece < away; piece += 1) {
        // Copied before this returns, so that a buffer shared between threads is as good as any.
        const bytes = pieceAt(piece) as Uint8Array<ArrayBuffer>;
        awayHashes.push(webcrypto.subtle.digest("SHA-256", bytes));
      }
      for (let piece = away; piece < pieceCount; piece += 1) {
        list.set(sha256(pieceAt(piece)), piece * hashLengthBytes);
      }
      for (const [piece, hash] of (await Promise.all(awayHashes)).entries()) {
        list.set(new Uint8Array(hash), piece * hashLengthBytes);
      }
      return list;
    },
  };
}
