import type { Platform } from "../src/core/platform.ts";
import type { Point } from "../src/core/point.ts";
import type { GroupReader } from "../src/journal/group.ts";
import { bootPoint } from "../src/recovery/boot-point.ts";
import {
  type DatabaseState,
  guestAnswerPattern,
  guestBootTimeoutMs,
  parseDatabaseLine,
} from "../test/guest/database-guest.ts";
import type { Scene } from "./scene.ts";

/** A point that runs as a machine again. Disposing ends it; the vault never changed. */
export interface RecoveredMachine extends AsyncDisposable {
  readonly state: DatabaseState;
  /** From asking for the point to the database's first answer. */
  readonly rtoSeconds: number;
}

/** Opens a point, boots its machine and waits for its database. GUEST_FAILED. */
export async function recover(
  scene: Scene,
  platform: Platform,
  reader: GroupReader,
  point: Point,
): Promise<RecoveredMachine> {
  const { signal, clock } = scene;
  const askedAtMs = clock.monotonicMs();
  await using opened = new AsyncDisposableStack();
  const view = opened.use(await reader.open(point.id));
  const { machines } = opened.use(await bootPoint({ view, platform, signal }));
  const [machine] = machines;
  if (!machine) throw new Error("the point describes no machine");
  const wait = { pattern: guestAnswerPattern, timeoutMs: guestBootTimeoutMs, signal };
  const { line } = await machine.waitUntilReady(wait);
  const rtoSeconds = Math.round(clock.monotonicMs() - askedAtMs) / 1000;
  const state = parseDatabaseLine(line.text, machine.console());
  const held = opened.move();
  return { state, rtoSeconds, [Symbol.asyncDispose]: () => held.disposeAsync() };
}
