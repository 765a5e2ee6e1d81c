import { expect, test } from "vitest";
import { systemClock } from "../base/clock.ts";
import { Fault } from "../base/fault.ts";
import type { EventLog } from "./event-log.ts";
import { LinkLog } from "./link-log.ts";

test("a vault that stays away is one line for each reason, and one a minute", () => {
  let monotonicMs = 0;
  const lines: { readonly message: string; readonly attempts: unknown }[] = [];
  const log: EventLog = {
    event: () => {},
    note: (_level, message, { attempts }) => void lines.push({ message, attempts }),
  };
  const link = new LinkLog(log, { ...systemClock(), monotonicMs: () => monotonicMs });
  const fail = (reason: string, times: number) => {
    const fault = new Fault("LINK_LOST", reason);
    for (let count = 0; count < times; count += 1) {
      link.tell({ kind: "dial-failed", fault, retryInMs: 200 });
    }
  };
  fail("refused", 20);
  fail("no route", 1);
  monotonicMs = 61_000;
  fail("no route", 5);
  link.tell({
    kind: "link-up",
    peer: { name: "vault", role: "vault", id: "0000000000000001", address: "[::1]:7420" },
  });
  fail("no route", 2);
  const away = "The vault was not reached.";
  expect(lines).toEqual([
    { message: away, attempts: 1 },
    { message: away, attempts: 21 },
    { message: away, attempts: 22 },
    { message: "The link is up.", attempts: undefined },
    { message: away, attempts: 1 },
  ]);
});
