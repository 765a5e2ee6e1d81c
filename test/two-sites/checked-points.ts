import type { View } from "../../src/core/journal.ts";
import { windowSizeBytes } from "../../src/core/limits.ts";
import type { Point } from "../../src/core/point.ts";
import { ShadowCopy } from "./shadow-copy.ts";
import type { ShadowWriter } from "./shadow-writer.ts";
import type { Sites } from "./sites.ts";

/** What was found wrong with the points of a run. */
export interface Findings {
  /** Points checked since the start, each once. */
  readonly checked: number;
  readonly troubles: readonly string[];
}

/** Checks every point that comes to the vault, each once, against what the guest really did. */
export class CheckedPoints {
  readonly #sites: Sites;
  readonly #copy: ShadowCopy;
  readonly #writer: ShadowWriter;
  readonly points: Point[] = [];
  readonly troubles: string[] = [];
  /** False while a wall clock lies: then only the content is compared. */
  hasHonestClocks = true;

  constructor(sites: Sites, writer: ShadowWriter) {
    this.#sites = sites;
    this.#writer = writer;
    this.#copy = new ShadowCopy(
      writer.operations,
      writer.disks.map(({ sizeBytes }) => sizeBytes),
    );
  }

  /** The newest sequence that was checked. */
  get newestSequence(): number {
    return this.points.at(-1)?.sequence ?? 0;
  }

  /** Reads and compares every point that is new. Nothing is thrown for a wrong point: `troubles` gathers them. */
  async look(): Promise<void> {
    await this.#sites.read(async (reader) => {
      for (const point of reader.points()) {
        if (point.sequence <= this.newestSequence) continue;
        // A point whose seal the vault did not survive leaves its number unused; the next one says what it follows.
        const before = this.points.at(-1);
        if (point.fromPoint !== (before?.id ?? null)) {
          this.troubles.push(`#${point.sequence} does not follow #${before?.sequence ?? 0}`);
        }
        this.points.push(point);
        await using view = await reader.open(point.id);
        const disks = await this.#contents(view);
        const trouble = this.#copy.trouble(disks, this.hasHonestClocks ? point.instant : null);
        if (trouble !== null) this.troubles.push(`#${point.sequence}: ${trouble}`);
      }
    });
  }

  async #contents(view: View): Promise<readonly Buffer[]> {
    return await Promise.all(
      this.#writer.disks.map(async ({ name }) => {
        const disk = view.disks.find((one) => one.name.endsWith(`/${name}`));
        if (disk === undefined) throw new Error(`the point has no disk ${name}`);
        const content = Buffer.alloc(disk.sizeBytes);
        for (let at = 0; at < content.length; at += windowSizeBytes) {
          await view.read(disk.identity, at, content.subarray(at, at + windowSizeBytes));
        }
        return content;
      }),
    );
  }
}
