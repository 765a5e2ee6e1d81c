import { mkdir, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "../base/clock.ts";
import { Fault } from "../base/fault.ts";
import { askWriter } from "./client.ts";
import { controlRequestLengthMax } from "./limits.ts";
import type { ControlRequest } from "./requests.ts";
import { type ControlHandler, serveControl } from "./server.ts";

let directory = "";
let path = "";
const signal = new AbortController().signal;
const clock = systemClock();
const request: ControlRequest = { verb: "state" };

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "control-"));
  path = join(directory, "control.sock");
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const serve = (handle: ControlHandler) => serveControl({ path, clock, handle });

/** Says `text` as it is and collects what comes back. */
async function sayRaw(text: string | Buffer): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  const socket = connect(path);
  let answer = "";
  socket.on("data", (chunk) => {
    answer += chunk.toString();
  });
  socket.on("error", () => {});
  socket.on("close", () => resolve(answer));
  socket.write(text);
  return promise;
}

test("a request is done by the writer, with progress on the way", async () => {
  const seen: ControlRequest[] = [];
  await using _server = await serve(async (asked, { onProgress }) => {
    seen.push(asked);
    onProgress(1, 2);
    onProgress(2, null);
    return { retired: 3 };
  });
  const progress: unknown[] = [];
  const answer = await askWriter({
    path,
    request: { verb: "thin", group: "erp" as never, retire: ["0123456789abcdef" as never] },
    signal,
    onProgress: (done, total) => progress.push([done, total]),
  });
  expect(answer).toEqual({ result: { retired: 3 } });
  expect(seen).toEqual([{ verb: "thin", group: "erp", retire: ["0123456789abcdef"] }]);
  expect(progress).toEqual([
    [1, 2],
    [2, null],
  ]);
});

test("nobody listening is no error: the caller may write itself", async () => {
  expect(await askWriter({ path, request, signal })).toBeNull();
  expect(await askWriter({ path: join(directory, "no/control.sock"), request, signal })).toBeNull();
});

test("a socket that a dead writer left is no writer, and is replaced", async () => {
  {
    await using _server = await serve(async () => null);
    await writeFile(`${path}.kept`, "");
  }
  await writeFile(path, "not even a socket");
  expect(await askWriter({ path, request, signal })).toBeNull();
  await using _server = await serve(async () => "alive");
  expect(await askWriter({ path, request, signal })).toEqual({ result: "alive" });
});

test("only the owner may connect, and nothing is left behind", async () => {
  {
    await using _server = await serve(async () => null);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  }
  await expect(stat(path)).rejects.toThrow("ENOENT");
});

test("a place that takes no socket is a fault that names it", async () => {
  path = join("/proc/self/task", "control.sock");
  await expect(serve(async () => null)).rejects.toMatchObject({ code: "CONTROL_FAILED" });
});

test("a vault deeper than a socket's path may be long", async () => {
  const deep = join(directory, "a".repeat(100), "b".repeat(100));
  await mkdir(deep, { recursive: true });
  path = join(deep, "control.sock");
  await using _server = await serve(async () => "deep");
  expect(await askWriter({ path, request, signal })).toEqual({ result: "deep" });
});

test("the writer's fault comes back as it was, a bug as CONTROL_FAILED", async () => {
  const errors = [new Fault("POINT_PINNED", "pinned by 7", { pid: 7 }), new TypeError("oops")];
  await using _server = await serve(async () => {
    throw errors.shift() ?? new Error("no more");
  });
  await expect(askWriter({ path, request, signal })).rejects.toMatchObject({
    code: "POINT_PINNED",
    message: "pinned by 7",
    details: { pid: 7 },
  });
  await expect(askWriter({ path, request, signal })).rejects.toMatchObject({
    code: "CONTROL_FAILED",
  });
});

test("work whose client goes away is aborted", async () => {
  const started = Promise.withResolvers<void>();
  const aborted = Promise.withResolvers<unknown>();
  await using _server = await serve(async (_, options) => {
    options.signal.addEventListener("abort", () => aborted.resolve(options.signal.reason));
    started.resolve();
    await aborted.promise;
  });
  const leaving = new AbortController();
  const answer = askWriter({ path, request, signal: leaving.signal });
  await started.promise;
  leaving.abort(new Fault("ABORTED", "interrupted"));
  await expect(answer).rejects.toMatchObject({ message: "interrupted" });
  expect(await aborted.promise).toMatchObject({ code: "ABORTED" });
});

test("a writer that stops aborts the work and tells the client", async () => {
  const started = Promise.withResolvers<void>();
  const server = await serve(async (_, options) => {
    const stopped = Promise.withResolvers<void>();
    options.signal.addEventListener("abort", () => stopped.reject(options.signal.reason));
    started.resolve();
    await stopped.promise;
  });
  const answer = askWriter({ path, request, signal });
  await started.promise;
  await Promise.all([
    server[Symbol.asyncDispose](),
    expect(answer).rejects.toMatchObject({ code: "ABORTED" }),
  ]);
});

describe("what is no request is refused", () => {
  const cases: Readonly<Record<string, string>> = {
    "no JSON": "hello\n",
    "an unknown verb": '{"verb":"format"}\n',
    "an unknown key": '{"verb":"state","also":1}\n',
    "a path for a name": '{"verb":"move-base","group":"../x","point":"0123456789abcdef"}\n',
    "a point that is none": '{"verb":"move-base","group":"erp","point":"0123"}\n',
  };
  for (const [name, text] of Object.entries(cases)) {
    test(name, async () => {
      await using _server = await serve(async () => expect.unreachable());
      expect(JSON.parse(await sayRaw(text))).toMatchObject({ error: { code: "CONTROL_PROTOCOL" } });
    });
  }
  test("a line without an end", async () => {
    await using _server = await serve(async () => expect.unreachable());
    const answer = await sayRaw(Buffer.alloc(controlRequestLengthMax + 1, 0x20));
    expect(answer === "" || answer.includes("CONTROL_PROTOCOL")).toBe(true);
  });
});

test("a client that says nothing is let go, and others are served meanwhile", async () => {
  const timers: (() => void)[] = [];
  const patient = {
    ...clock,
    sleep: () => new Promise<void>((resolve) => void timers.push(resolve)),
  };
  await using _server = await serveControl({ path, clock: patient, handle: async () => "served" });
  const silent = sayRaw("");
  while (timers.length === 0) await clock.sleep(1);
  expect(await askWriter({ path, request, signal })).toEqual({ result: "served" });
  for (const fire of timers) fire();
  await silent;
});
