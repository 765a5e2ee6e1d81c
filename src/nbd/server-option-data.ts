import { metaContextsMax, stringBytesMax } from "./limits.ts";
import { readText } from "./wire.ts";

/** Reads an option's data front to back; every method returns null instead of reading past the end. */
class OptionData {
  readonly #data: Buffer;
  #at = 0;

  constructor(data: Buffer) {
    this.#data = data;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#data.length;
  }

  number(lengthBytes: 2 | 4): number | null {
    if (this.#at + lengthBytes > this.#data.length) return null;
    this.#at += lengthBytes;
    return this.#data.readUIntBE(this.#at - lengthBytes, lengthBytes);
  }

  /** A 32-bit length and as many bytes of UTF-8, at most 4096. */
  text(): string | null {
    const lengthBytes = this.number(4);
    if (lengthBytes === null || lengthBytes > stringBytesMax) return null;
    if (this.#at + lengthBytes > this.#data.length) return null;
    this.#at += lengthBytes;
    return readText(this.#data.subarray(this.#at - lengthBytes, this.#at));
  }
}

/** The data of INFO and GO, or null when it is malformed. */
export function parseExportWish(
  bytes: Buffer,
): { readonly exportName: string; readonly infos: ReadonlySet<number> } | null {
  const data = new OptionData(bytes);
  const exportName = data.text();
  const count = data.number(2);
  if (exportName === null || count === null) return null;
  const infos = new Set<number>();
  for (let index = 0; index < count; index += 1) {
    const kind = data.number(2);
    if (kind === null) return null;
    infos.add(kind);
  }
  return data.isAtEnd ? { exportName, infos } : null;
}

/** The data of LIST_META_CONTEXT and SET_META_CONTEXT, or null when it is malformed. */
export function parseContextQuery(
  bytes: Buffer,
): { readonly exportName: string; readonly queries: readonly string[] } | null {
  const data = new OptionData(bytes);
  const exportName = data.text();
  const count = data.number(4);
  if (exportName === null || count === null || count > metaContextsMax) return null;
  const queries: string[] = [];
  for (let index = 0; index < count; index += 1) {
    const query = data.text();
    if (query === null) return null;
    queries.push(query);
  }
  return data.isAtEnd ? { exportName, queries } : null;
}
