import { expect, test } from "vitest";
import { cutOnce, shipAll, spoolWorld } from "../../../test/support/spool-world.ts";

test("a long list is written down now and then while it ships, and a kill in between does no harm", async () => {
  const world = await spoolWorld(25);
  await cutOnce(world);
  await shipAll(world);
  world.link.isUp = false;
  for (let round = 0; round < 290; round += 1) await cutOnce(world);
  world.link.isUp = true;
  const before = world.kills.changes;
  const stopAt = world.points().length + 20;
  world.link.fate = () => (world.points().length >= stopAt ? "lost" : "fine");
  await shipAll(world, 60);
  expect(world.points().length).toBe(stopAt);
  expect(world.kills.changes - before).toBeLessThan(30);
  world.link.fate = () => "fine";
  await world.restartReplicator();
  await shipAll(world, 2000);
  expect(world.points()).toHaveLength(291);
  expect(world.events.filter(({ type }) => type === "hole")).toEqual([]);
  expect(world.intake.status()).toMatchObject({ points: 0, usedBytes: 0 });
});
