import { existsSync } from "node:fs";
import { rename, writeFile } from "node:fs/promises";
import { join } from "node:path";

const library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/** Whether this host has libfaketime (Debian: libfaketime). */
export function canLie(): boolean {
  return existsSync(library);
}

/** A site's wall clock as one unaltered process sees it; durations stay true. */
export interface LyingClock {
  /** For the process that is to believe it. */
  readonly environment: Readonly<Record<string, string>>;
  /** From within a second on, the wall clock is so far ahead of the truth; negative: behind. */
  jumpTo(seconds: number): Promise<void>;
}

/** A clock that tells the truth until it jumps; its file lies in `directory` under `name`. */
export async function lyingClock(directory: string, name: string): Promise<LyingClock> {
  const path = join(directory, `${name}.clock`);
  const jumpTo = async (seconds: number) => {
    // Replaced whole: the library must not read half an offset.
    await writeFile(`${path}.new`, `${seconds < 0 ? "" : "+"}${seconds}\n`);
    await rename(`${path}.new`, path);
  };
  await jumpTo(0);
  return {
    environment: {
      LD_PRELOAD: library,
      FAKETIME_TIMESTAMP_FILE: path,
      FAKETIME_CACHE_DURATION: "1",
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
    },
    jumpTo,
  };
}
