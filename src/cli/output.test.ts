import { describe, expect, test } from "vitest";
import { systemClock } from "../base/clock.ts";
import { Fault } from "../base/fault.ts";
import { failureOf, traceOf } from "./failure.ts";
import { startProgress } from "./progress.ts";
import { formatInstant, formatTable } from "./table.ts";
import { recordedTerminal } from "./terminal.ts";

describe("an error", () => {
  test("is one line with code, message and next step", () => {
    const failure = failureOf(new Fault("VAULT_MISSING", "/a is\nno vault.", { path: "/a" }));
    expect(failure.line).toBe(
      "afterimage: VAULT_MISSING: /a is no vault — Make one with `afterimage vault init DIR`, or correct the path.",
    );
    expect(failure.exitCode).toBe(2);
    expect(failure.json.error).toMatchObject({ code: "VAULT_MISSING", details: { path: "/a" } });
  });
  test("of a check has exit code 1", () => {
    expect(failureOf(new Fault("DELTA_CORRUPT", "a")).exitCode).toBe(1);
  });
  test("is told by the fault within it", () => {
    const error = new Error("outer", { cause: new Fault("STORAGE_FULL", "/a: ENOSPC") });
    expect(failureOf(error).line).toContain("STORAGE_FULL: /a: ENOSPC — ");
  });
  test("of the host that nobody made a fault of is one all the same", () => {
    const error = Object.assign(new Error("ENOENT: no such file"), {
      code: "ENOENT",
      syscall: "mkdtemp",
    });
    expect(failureOf(error)).toMatchObject({
      exitCode: 2,
      json: { error: { code: "STORAGE_MISSING" } },
    });
  });
  test("that is no fault is a bug and says how to report it", () => {
    expect(failureOf(new TypeError("x is not\na function")).line).toMatch(
      /^afterimage: BUG: x is not a function — .*AFTERIMAGE_TRACE=1/,
    );
  });
  test("is traced with its causes", () => {
    const trace = traceOf(new Error("outer", { cause: new Error("inner") }));
    expect(trace).toMatch(/outer[\s\S]*caused by: Error: inner/);
  });
});

test("a table has aligned columns and nothing at a line's end", () => {
  const text = formatTable(
    [{ title: "NAME" }, { title: "SIZE", align: "right" }, { title: "NOTE" }],
    [
      ["a", "10 MiB", ""],
      ["long", "1 B", "x"],
    ],
  );
  expect(text).toBe("NAME    SIZE  NOTE\na     10 MiB\nlong     1 B  x");
});

test("an instant is UTC to the millisecond", () => {
  expect(formatInstant(Date.parse("2026-11-21T09:44:31.250Z"))).toBe("2026-11-21 09:44:31.250 UTC");
});

describe("progress", () => {
  const at = (terminal: ReturnType<typeof recordedTerminal>, isErrorInteractive: boolean) => {
    let nowMs = 0;
    const clock = { ...systemClock(), monotonicMs: () => nowMs };
    const progress = startProgress({ ...terminal, isErrorInteractive }, clock);
    const pass = (ms: number) => {
      nowMs += ms;
    };
    return { progress, pass };
  };

  test("says nothing about what is over in two seconds", () => {
    const terminal = recordedTerminal();
    const { progress, pass } = at(terminal, true);
    progress.step("reading");
    pass(1900);
    progress.update({ done: 1, total: 2, unit: "items" });
    progress[Symbol.dispose]();
    expect(terminal.stderr()).toBe("");
  });
  test("is one line drawn again on a terminal, and gone at the end", () => {
    const terminal = recordedTerminal();
    const { progress, pass } = at(terminal, true);
    progress.step("reading");
    pass(4000);
    progress.update({ done: 1024, total: 2048, unit: "bytes" });
    pass(50);
    progress.update({ done: 1025, total: 2048, unit: "bytes" });
    progress[Symbol.dispose]();
    expect(terminal.stderr()).toBe(
      `\r\x1b[Kreading [${"#".repeat(12)}${".".repeat(12)}] 50 %, 1.00 KiB of 2.00 KiB, 4.0 s left\r\x1b[K`,
    );
  });
  test("is a line for each step where nobody watches", () => {
    const terminal = recordedTerminal();
    const { progress, pass } = at(terminal, false);
    progress.step("reading a");
    progress.step("reading b");
    pass(11_000);
    progress.update({ done: 3, total: null, unit: "items" });
    pass(9_000);
    progress.update({ done: 4, total: null, unit: "items" });
    expect(terminal.stderr()).toBe("reading a\nreading b\nreading b 3\n");
  });
});
