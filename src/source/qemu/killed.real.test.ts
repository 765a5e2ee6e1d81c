import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../base/clock.ts";
import { MIB } from "../../base/units.ts";
import type { DiskName, MachineName } from "../../core/ids.ts";
import { blockSizeBytes } from "../../core/limits.ts";
import type { QmpCommand } from "../../qemu/qmp-messages.ts";
import type { KilledCycle } from "./killed-cycle.ts";
import { type SourcePhase, sourcePhases } from "./phase.ts";
import {
  diskName,
  extentsOf,
  type Guest,
  type GuestDisk,
  testSignal as signal,
  type TestHost,
  testGroup,
  testHost,
  testPoint,
} from "./test-guest.ts";
import { isRunning, startTestMachine, type TestMachine } from "./test-machine.ts";

const disks: readonly GuestDisk[] = [{ name: "data", sizeBytes: 16 * MIB }];
const machineNames = ["app", "db"] as MachineName[];
const machines = Object.fromEntries(machineNames.map((name) => [name, disks]));
const names = machineNames.map((name) => diskName(`${name}/data`));
const sinceOf = (list: readonly DiskName[], number: number) =>
  new Map(list.map((name) => [name, testPoint(number)]));

/** Steps that come after the seal: the vault's head is the new point by then. */
const sealedPhases: readonly SourcePhase[] = ["forget", "forgotten"];

describe("SIGKILL of our process", () => {
  let host: TestHost;
  const running: TestMachine[] = [];
  beforeAll(async () => {
    host = await testHost();
    for (const name of machineNames) {
      await host.createImages(name, disks);
      running.push(await startTestMachine(host, name, disks));
    }
  });
  afterAll(async () => {
    for (const machine of running) await machine[Symbol.asyncDispose]();
    await host[Symbol.asyncDispose]();
  });

  test.each(sourcePhases)("before %s costs no change and leaves nothing behind", async (phase) => {
    const first = testPoint(1);
    {
      await using source = host.source(machines);
      await source.repair({ keep: [], signal });
      await source.track(names, first, { signal });
    }
    for (const machine of running) await machine.io("data", "write -P 1 0 64k");
    const cycle: KilledCycle = {
      group: testGroup,
      machines: machineNames.map((name) => ({
        name,
        qmpPath: join(host.directory, `${name}.qmp`),
        disks: [{ name: "data", node: "data", tracking: "persistent" }],
      })),
      scratch: { directory: host.scratchDirectory, capBytes: 64 * MIB },
      disks: names,
      since: first,
      id: testPoint(2),
      phase,
    };
    const program = join(import.meta.dirname, "killed-cycle.ts");
    const child = spawn(process.execPath, [program, JSON.stringify(cycle)], { stdio: "inherit" });
    expect(await once(child, "close")).toEqual([null, "SIGKILL"]);
    for (const machine of running) {
      while (!(await isRunning(machine))) await systemClock().sleep(5);
      await machine.io("data", "write -P 2 1M 64k");
    }
    const head = sealedPhases.includes(phase) ? 2 : 1;
    await using source = host.source(machines);
    const report = await source.repair({ keep: [testPoint(head)], signal });
    expect(report.disks).toMatchObject(names.map(() => ({ since: testPoint(head) })));
    for (const [index, machine] of running.entries()) {
      expect(await machine.ours()).toEqual([]);
      const bitmap = `afterimage:erp:${testPoint(head)}:${16 * MIB}:${names[index]}`;
      expect(await machine.bitmaps("data")).toEqual([bitmap]);
    }
    const since = sinceOf(names, head);
    await using snapshot = await source.freeze({ id: testPoint(3), since, signal });
    const offsets = head === 1 ? [0, MIB] : [MIB];
    for (const name of names) {
      expect(await extentsOf(snapshot, name)).toEqual(
        offsets.map((offsetBytes) => ({ offsetBytes, lengthBytes: blockSizeBytes, state: "data" })),
      );
    }
    await snapshot[Symbol.asyncDispose]();
    await source[Symbol.asyncDispose]();
    expect(await readdir(host.scratchDirectory)).toEqual([]);
  });
});

describe("a freeze of which QEMU carried out only the first commands", () => {
  const two: readonly GuestDisk[] = [
    { name: "data", sizeBytes: 16 * MIB },
    { name: "wal", sizeBytes: 16 * MIB },
  ];
  const twoNames = [diskName("db/data"), diskName("db/wal")];
  let host: TestHost;
  let guest: Guest;
  const burst: QmpCommand[] = [];
  beforeAll(async () => {
    host = await testHost();
    await host.createImages("db", two);
    guest = await host.start("db", two);
    await using source = host.source(
      { db: two },
      { onCommand: (command) => burst.push(command), capBytes: 8 * MIB },
    );
    await source.track(twoNames, testPoint(1), { signal });
    burst.length = 0;
    // The scratch files stay, as a killed process leaves them.
    const since = sinceOf(twoNames, 1);
    const kept = await source.freeze({ id: testPoint(2), since, signal });
    guest.dropSourceConnection();
    await kept[Symbol.asyncDispose]();
    while (burst[0]?.execute !== "blockdev-add") burst.shift();
  });
  afterAll(() => host[Symbol.asyncDispose]());

  test("is repaired wherever it ended, and the next point holds every change", async () => {
    const length = burst.findIndex(({ execute }) => execute === "query-named-block-nodes");
    expect(burst.slice(0, length).map(({ execute }) => execute)).toEqual([
      ...["blockdev-add", "block-set-write-threshold"],
      ...["blockdev-add", "block-set-write-threshold"],
      ...["transaction", "block-export-add", "block-export-add"],
    ]);
    for (let count = 0; count <= length; count += 1) {
      await using source = host.source({ db: two }, { capBytes: 8 * MIB });
      await source.repair({ keep: [testPoint(1)], signal });
      {
        // Makes the scratch files that the commands name.
        const since = sinceOf(twoNames, 1);
        await using _made = await source.freeze({ id: testPoint(9), since, signal });
      }
      guest.dropSourceConnection();
      for (const command of burst.slice(0, count)) {
        await guest.qmp.execute(command.execute, command.arguments);
      }
      await guest.disk("data").write(0, new Uint8Array(512).fill(count + 1));
      await using next = host.source({ db: two }, { capBytes: 8 * MIB });
      const { disks: found } = await next.repair({ keep: [testPoint(1)], signal });
      expect(found).toMatchObject(twoNames.map(() => ({ since: testPoint(1) })));
      expect((await guest.nodeNames()).filter((name) => name.startsWith("afterimage"))).toEqual([]);
      expect(await guest.bitmaps("wal")).toEqual([
        `afterimage:erp:${testPoint(1)}:${16 * MIB}:db/wal`,
      ]);
      const since = sinceOf(twoNames, 1);
      await using snapshot = await next.freeze({ id: testPoint(3), since, signal });
      expect(await extentsOf(snapshot, "db/data")).toHaveLength(1);
    }
  });
});
