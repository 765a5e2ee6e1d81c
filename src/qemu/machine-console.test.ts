import { expect, test } from "vitest";
import { systemClock } from "../base/clock.ts";
import { consoleLineLengthMax, consoleLinesMax, fedConsole } from "./machine-console.ts";

function feed() {
  const typed: string[] = [];
  const console = fedConsole({
    machine: "db",
    clock: systemClock(),
    onType: (text) => typed.push(text),
  });
  return { console, typed, say: (text: string) => console.push(Buffer.from(text)) };
}

const wait = { timeoutMs: 60_000 };

test("a line that comes in pieces is one line, without its carriage return", async () => {
  const { console, say } = feed();
  const heard: string[] = [];
  console.onLine(({ text }) => heard.push(text));
  say("log");
  say("in:\r\nsecond\nthi");
  expect(heard).toEqual(["login:", "second"]);
  expect(await console.waitForLine(/^login:$/, wait)).toMatchObject({ text: "login:" });
});

test("who waits before the line and who waits after it both get it", async () => {
  const { console, say } = feed();
  const early = console.waitForLine(/ready/, wait);
  say("guest ready\n");
  expect((await early).text).toBe("guest ready");
  expect((await console.waitForLine(/ready/, wait)).text).toBe("guest ready");
});

test("waiting ends with an excerpt when the time is over, the machine ends or the caller aborts", async () => {
  const { console, say } = feed();
  say("kernel panic\n");
  await expect(console.waitForLine(/ready/, { timeoutMs: 1 })).rejects.toMatchObject({
    code: "GUEST_FAILED",
    message: expect.stringMatching(/no line like.*\nkernel panic$/s),
  });
  const abort = new AbortController();
  const waiting = console.waitForLine(/ready/, { ...wait, signal: abort.signal });
  abort.abort(new Error("enough"));
  await expect(waiting).rejects.toThrow("enough");
  const orphaned = console.waitForLine(/ready/, wait);
  console.end("it was killed");
  await expect(orphaned).rejects.toThrow("it was killed");
  await expect(console.waitForLine(/ready/, wait)).rejects.toThrow("it was killed");
});

test("a guest that floods its console costs no more than a bound", () => {
  const { console, say } = feed();
  const heard: string[] = [];
  console.onLine(({ text }) => heard.push(text));
  say("x".repeat(10 * consoleLineLengthMax));
  say("y\n");
  expect(heard[0]).toHaveLength(consoleLineLengthMax);
  for (let line = 0; line < 3 * consoleLinesMax; line += 1) say(`${line}\n`);
  expect(console.excerpt().split("\n").at(-1)).toBe(String(3 * consoleLinesMax - 1));
});

test("what is typed is one line", () => {
  const { console, typed } = feed();
  console.type("write");
  expect(typed).toEqual(["write\n"]);
});
