import { expect, test } from "vitest";
import { virtualClock } from "../../../sim/clock.ts";
import { simFileSystem } from "../../../sim/file-system.ts";
import { Medium } from "../../../sim/medium.ts";
import { seededPrng } from "../../base/prng.ts";
import { parseGroupName } from "../../core/ids.ts";
import { openSpool } from "./spool.ts";

test("a spool's first point outlives a power cut: the folders it lies in are durable before it", async () => {
  const medium = new Medium();
  const clock = virtualClock();
  const files = simFileSystem({ medium, clock });
  const bounds = { capBytes: 1, reserveBytes: 0 };
  const spool = await openSpool({ files, directory: "/spool", ...bounds, clock });
  await spool.openGroup(parseGroupName("erp")!);
  medium.crash(seededPrng(1), { survivalRate: 0, tearRate: 0 });
  expect(medium.paths()).toContain("/spool/erp/state");
});
