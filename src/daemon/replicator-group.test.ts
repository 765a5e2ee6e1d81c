import { expect, test } from "vitest";
import { virtualClock } from "../../sim/clock.ts";
import { memoryFileSystem } from "../base/memory-file-system.ts";
import { seededPrng } from "../base/prng.ts";
import { GIB } from "../base/units.ts";
import type { CommandContext } from "../cli/command-context.ts";
import { parseConfig } from "../cli/config.ts";
import { diskForTest, headerForTest } from "../delta/header-for-test.ts";
import { openSpool } from "../engine/spool/spool.ts";
import { SpoolWriter } from "../engine/spool/spool-writer.ts";
import type { Link } from "../transport/link.ts";
import { AlarmBook } from "./alarm-book.ts";
import type { EventLog } from "./event-log.ts";
import { ReplicatorGroup } from "./replicator-group.ts";

const text = [
  "vault: /srv/vault",
  "scratch: { directory: /shared/scratch }",
  "groups:",
  "  - name: erp",
  "    machines: [{ name: db, qmp: /nowhere/db.qmp, disks: [{ name: data, node: d0 }] }]",
].join("\n");

test("a bug of ours in what ships ends the group: nobody waits for points that nothing sends", async () => {
  const config = parseConfig(text, "a.yaml");
  const group = config.groups[0]!;
  const files = memoryFileSystem();
  const clock = virtualClock();
  const spool = await openSpool({
    ...{ files, directory: "/spool", capBytes: GIB, reserveBytes: 0, clock },
  });
  const holder = "00000000000000aa";
  const header = {
    ...headerForTest(1, [diskForTest(1, 65_536)]),
    generation: { number: 1, holder },
  };
  const part = await spool.openGroup(group.name);
  await using writer = await SpoolWriter.begin({
    ...{ group: part, header, codecOf: () => "raw", onSealed: () => {}, onFull: () => {} },
  });
  await writer.seal({ dirtyBytes: 0, readBytes: 0 });
  const bug = new TypeError("a bug");
  const link = {
    intake: () => ({
      ask: async () => ({ head: null, staged: [], generation: null, owed: null }),
      begin: async () => {
        throw bug;
      },
    }),
    health: () => ({ isUp: true, bytesPerSecond: null, clock: null, roundTripMs: 1 }),
  } as unknown as Link;
  const log: EventLog = { event: () => {}, note: () => {} };
  const context = { files, clock, prng: seededPrng(1) } as unknown as CommandContext;
  const one = await ReplicatorGroup.open(
    {
      ...{ context, log, link, spool, holder, alarms: new AlarmBook(clock) },
      capOf: () => null,
      onEvent: () => {},
    },
    config,
    group,
  );
  const stop = new AbortController();
  let isOver = false;
  const running = one.run(stop.signal).finally(() => {
    isOver = true;
  });
  running.catch(() => {});
  for (let turn = 0; turn < 2000 && !isOver; turn += 1) {
    await new Promise((resolve) => setImmediate(resolve));
    clock.advance();
  }
  stop.abort();
  expect(isOver).toBe(true);
  await expect(running).rejects.toBe(bug);
});
