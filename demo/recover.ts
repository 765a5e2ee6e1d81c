import { mkdtemp } from "node:fs/promises";
import { join } from "node:path";
import type { BootedMachine, Platform } from "../src/core/platform.ts";
import type { Point } from "../src/core/point.ts";
import type { GroupReader } from "../src/journal/group.ts";
import { fixedExports } from "../src/nbd/export.ts";
import { serveNbd } from "../src/nbd/server.ts";
import { viewExport } from "../src/recovery/view-export.ts";
import {
  type DatabaseState,
  guestBootTimeoutMs,
  parseDatabaseLine,
} from "../test/guest/database-guest.ts";
import type { Scene } from "./scene.ts";

const answerPattern = /^GUEST \{"event":"(ready|failed)"/;

/** A point that runs as a machine again. Disposing ends it; the vault never changed. */
export interface RecoveredMachine extends AsyncDisposable {
  readonly point: Point;
  readonly machine: BootedMachine;
  readonly state: DatabaseState;
  /** From asking for the point to the database's first answer. */
  readonly rtoSeconds: number;
}

/** Opens a point, serves its disks, boots the machine from them and waits for its database. GUEST_FAILED. */
export async function recover(
  scene: Scene,
  platform: Platform,
  reader: GroupReader,
  point: Point,
): Promise<RecoveredMachine> {
  const { signal, clock } = scene;
  const askedAtMs = clock.monotonicMs();
  await using stack = new AsyncDisposableStack();
  const view = stack.use(await reader.open(point.id));
  const directory = await mkdtemp(join(scene.directory, "view-"));
  const server = stack.use(
    await serveNbd({
      listen: { path: join(directory, "nbd") },
      exports: fixedExports(new Map(view.disks.map((disk) => [disk.name, viewExport(view, disk)]))),
    }),
  );
  const description = point.machines[0];
  if (!description) throw new Error("the point describes no machine");
  const machine = stack.use(
    await platform.start({
      group: scene.group,
      machine: description,
      disks: view.disks.map(({ name, sizeBytes }) => ({
        name: name.slice(name.indexOf("/") + 1),
        sizeBytes,
        uri: server.uri(name),
      })),
      signal,
    }),
  );
  const wait = { pattern: answerPattern, timeoutMs: guestBootTimeoutMs, signal };
  const { line } = await machine.waitUntilReady(wait);
  const state = parseDatabaseLine(line.text, machine.console());
  const resources = stack.move();
  return {
    point,
    machine,
    state,
    rtoSeconds: (clock.monotonicMs() - askedAtMs) / 1000,
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}
