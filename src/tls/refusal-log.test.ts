import { expect, test } from "vitest";
import { RefusalLog, type RefusedPeer } from "./refusal-log.ts";
import { ClockForTest } from "./vault-for-test.ts";

function fixture() {
  const clock = new ClockForTest(1_000_000);
  const told: RefusedPeer[] = [];
  const log = new RefusalLog(clock, (refused) => told.push(refused));
  const note = (host: string) =>
    log.note(host, { address: `${host}:1`, reason: "no TLS", claimed: null });
  return { clock, told, log, note };
}

test("a flood from one host is counted, and another host is told as before", () => {
  const { clock, told, log, note } = fixture();
  for (let count = 0; count < 1000; count += 1) note("192.0.2.1");
  note("192.0.2.2");
  expect(told.length).toBe(21);
  clock.advance(60_000);
  log.flush();
  expect(told.slice(21)).toEqual([
    {
      address: "192.0.2.1",
      reason: "980 further connections were refused within a minute",
      claimed: null,
    },
  ]);
  note("192.0.2.1");
  expect(told.at(-1)).toMatchObject({ address: "192.0.2.1:1", reason: "no TLS" });
});

test("a flood from ever new hosts is bounded too", () => {
  const { clock, told, log, note } = fixture();
  for (let count = 0; count < 5000; count += 1) note(`host-${count}`);
  expect(told.length).toBe(1024 + 20);
  clock.advance(60_000);
  log.flush();
  expect(told.at(-1)?.address).toBe("many hosts");
  expect(told.at(-1)?.reason).toMatch(/^3956 further/);
});
