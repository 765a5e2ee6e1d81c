import type { GroupName } from "../core/ids.ts";

/** What a group sent, in bytes. */
export interface SentBytes {
  dataBytes: number;
  wireBytes: number;
  resentBytes: number;
}

/** What was sent, by group. */
export class SentCounts {
  readonly #groups = new Map<GroupName, SentBytes>();
  /** Over all groups. */
  resentBytes = 0;

  of(group: GroupName): SentBytes {
    const found = this.#groups.get(group);
    if (found !== undefined) return found;
    const made = { dataBytes: 0, wireBytes: 0, resentBytes: 0 };
    this.#groups.set(group, made);
    return made;
  }

  resent(group: GroupName, bytes: number): void {
    this.resentBytes += bytes;
    this.of(group).resentBytes += bytes;
  }
}
