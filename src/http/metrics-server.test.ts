import { once } from "node:events";
import { connect } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type MetricsServer, serveMetrics } from "./metrics-server.ts";

let server: MetricsServer;
let read: () => Promise<string>;
const errors: unknown[] = [];

beforeEach(async () => {
  read = async () => "afterimage_build_info 1\n";
  errors.length = 0;
  server = await serveMetrics({
    host: "127.0.0.1",
    port: 0,
    metrics: { contentType: "text/plain; version=0.0.4", text: () => read() },
    onError: (error) => errors.push(error),
  });
});
afterEach(() => server[Symbol.asyncDispose]());

const url = (path = "/metrics") => `http://${server.host}:${server.port}${path}`;

/** Sends bytes and reads until the server ends the connection. */
async function raw(text: string): Promise<string> {
  const socket = connect(server.port, server.host);
  let answer = "";
  socket.on("data", (bytes) => {
    answer += bytes.toString();
  });
  socket.on("error", () => {});
  socket.write(text);
  await once(socket, "close");
  return answer;
}

test("a scrape gets the text as it is now", async () => {
  const first = await fetch(url());
  expect(first.headers.get("content-type")).toBe("text/plain; version=0.0.4");
  expect(await first.text()).toBe("afterimage_build_info 1\n");
  read = async () => "another 2\n";
  expect(await (await fetch(url("/metrics?x=1"))).text()).toBe("another 2\n");
});

test.each([
  ["/", "GET", 404],
  ["/metrics/x", "GET", 404],
  ["/metrics", "DELETE", 405],
  ["/metrics", "HEAD", 200],
])("%s by %s is answered with %i", async (path, method, status) => {
  expect((await fetch(url(path), { method })).status).toBe(status);
});

test("a body is refused and not kept", async () => {
  const answer = await raw(
    "POST /metrics HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000000000\r\n\r\n",
  );
  expect(answer).toMatch(/^HTTP\/1.1 413 /);
});

test("endless headers end the connection", async () => {
  expect(await raw(`GET /metrics HTTP/1.1\r\nx: ${"y".repeat(20_000)}`)).toMatch(/^HTTP\/1.1 431 /);
});

test("what is no request ends the connection", async () => {
  expect(await raw("\u0016\u0003\u0001 hello\r\n\r\n")).toMatch(/^HTTP\/1.1 400 /);
});

test("a failure of ours is told to us and not to the client", async () => {
  const failure = new Error("the secret reason");
  read = () => Promise.reject(failure);
  const answer = await fetch(url());
  expect([answer.status, await answer.text()]).toEqual([500, "the metrics could not be read\n"]);
  expect(errors).toEqual([failure]);
});

test("a client that is still connected does not hold up the end", async () => {
  const socket = connect(server.port, server.host);
  await once(socket, "connect");
  const closed = once(socket, "close");
  await server[Symbol.asyncDispose]();
  await closed;
});

test("an address that is taken is a clear fault", async () => {
  const { host, port } = server;
  const metrics = { contentType: "", text: read };
  await expect(serveMetrics({ host, port, metrics, onError: () => {} })).rejects.toMatchObject({
    code: "CONFIG_INVALID",
    message: `metrics cannot be served at 127.0.0.1:${port}: the port is in use`,
  });
});

test.each([
  ["evil.example", 421],
  ["evil.example:80", 421],
  ["localhost", 200],
  ["127.0.0.1:9641", 200],
  ["[::1]:9641", 200],
])("who asks for %s gets %i", async (host, status) => {
  const answer = await raw(`GET /metrics HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
  expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
});
