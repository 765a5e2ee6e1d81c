import { describe, expect, test } from "vitest";
import { virtualClock } from "../../sim/clock.ts";
import { seededPrng } from "../base/prng.ts";
import { TestHistory, testGroup } from "../journal/history-for-test.ts";
import { memoryVault } from "../journal/vault-for-test.ts";
import { movingClock } from "./moving-clock-for-test.ts";
import { remoteJournal, unowned } from "./remote-journal-for-test.ts";
import { testSites } from "./sites-for-test.ts";

const mib = 1024 * 1024;

describe("a link whose channels are cut anywhere", () => {
  for (let seed = 1; seed <= 10; seed += 1) {
    test(`seals every point once, with what was written (seed ${seed})`, async () => {
      using clock = movingClock(virtualClock());
      await using vault = await memoryVault();
      const journal = await vault.reopen();
      const prng = seededPrng(seed);
      const writes = new Map<string, number>();
      const counted = countingWrites(unowned(journal), writes);
      await using sites = testSites({
        clock,
        seed,
        openGroup: async () => counted,
        pieceBytes: 1 + prng.below(70_000),
        cutAfterBytes: () => 200 + prng.below(prng.below(2) === 0 ? 5_000 : 2 * mib),
        // Cut as often as this, a link would be down now and then; here everything has to be resumed.
        link: {
          bounds: { lostAfterMs: 3_600_000, stalledAfterMs: 3_600_000 },
          channelCount: 1 + prng.below(4),
          codecOf: () => (seed % 2 === 0 ? "zstd" : "raw"),
        },
      });
      await sites.link.whenUp({ signal: AbortSignal.timeout(5000) });
      const intake = sites.link.intake(testGroup);
      const remote = remoteJournal(intake, journal);
      const history = new TestHistory(seed);
      history.addDisk("db/data", 4 * mib);
      history.addDisk("db/log", mib + 512);
      for (let count = 0; count < 4; count += 1) {
        history.scribble(10);
        await history.seal(remote);
        expect(intake.head()).toEqual(journal.head());
      }
      await history.check(journal);
      expect(sites.channels.length).toBeGreaterThan(4);
      expect([...writes.values()].filter((times) => times > 1)).toEqual([]);
      const sessions = sites.receiver().sessions();
      expect(sessions.map(({ repeatedBytes }) => repeatedBytes)).toEqual([0]);
    });
  }
});

/** Counts how often each chunk of each delta reached the journal. */
function countingWrites<Intake extends import("../core/journal.ts").JournalIntake>(
  intake: Intake,
  writes: Map<string, number>,
): Intake {
  return new Proxy(intake, {
    get: (target, member) => {
      const value: unknown = Reflect.get(target, member, target);
      if (member !== "begin") return typeof value === "function" ? value.bind(target) : value;
      const begin: typeof target.begin = async (header) => {
        const writer = await target.begin(header);
        return new Proxy(writer, {
          get: (inner, name) => {
            const own: unknown = Reflect.get(inner, name, inner);
            if (name !== "writeStored") return typeof own === "function" ? own.bind(inner) : own;
            const writeStored: typeof inner.writeStored = (disk, chunk) => {
              const key = `${header.id} ${disk} ${chunk.offsetBytes}`;
              writes.set(key, (writes.get(key) ?? 0) + 1);
              return inner.writeStored(disk, chunk);
            };
            return writeStored;
          },
        });
      };
      return begin;
    },
  });
}
