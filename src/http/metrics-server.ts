import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, isIP } from "node:net";
import { Fault } from "../base/fault.ts";

/** Scrapers are few; further connections are closed. */
const connectionsMax = 16;
/** A request is a line and a few headers. */
const headersLengthBytesMax = 8 * 1024;
const headersMax = 64;
/** From the connection to the end of the headers. */
const headersTimeoutMs = 5_000;
/** From the first byte of a request to its last. */
const requestTimeoutMs = 5_000;
/** A client that takes nothing for so long is let go; also how long a kept connection may idle. */
const idleTimeoutMs = 10_000;
/** How often Node looks for the two above. */
const checkIntervalMs = 1_000;

/** `/metrics` on a port of this host. Disposing ends all connections. */
export interface MetricsServer extends AsyncDisposable {
  readonly host: string;
  /** The one that was found, if 0 was asked for. */
  readonly port: number;
}

/**
 * Serves Prometheus' text at `/metrics`, nothing else, to whoever reaches `host`; the configuration allows this host alone. A
 * slow, silent or greedy client costs one of few connections for a bounded time. CONFIG_INVALID when it cannot listen
 * there.
 */
export async function serveMetrics(options: {
  readonly host: string;
  readonly port: number;
  readonly metrics: { readonly contentType: string; text(): Promise<string> };
  /** Hears of scrapes that failed on our side. */
  readonly onError: (error: unknown) => void;
}): Promise<MetricsServer> {
  const server = createServer(
    {
      maxHeaderSize: headersLengthBytesMax,
      headersTimeout: headersTimeoutMs,
      requestTimeout: requestTimeoutMs,
      keepAliveTimeout: idleTimeoutMs,
      connectionsCheckingInterval: checkIntervalMs,
    },
    (request, response) => {
      answer(request, response, options).catch((error: unknown) => {
        options.onError(error);
        if (!response.headersSent) say(response, 500, "the metrics could not be read\n");
        else response.destroy();
      });
    },
  );
  server.maxConnections = connectionsMax;
  server.maxHeadersCount = headersMax;
  server.setTimeout(idleTimeoutMs, (socket) => socket.destroy());
  await listen(server, options);
  const { address, port } = server.address() as AddressInfo;
  return {
    host: address,
    port,
    [Symbol.asyncDispose]: async () => {
      const closed = Promise.withResolvers<void>();
      server.close(() => closed.resolve());
      server.closeAllConnections();
      await closed.promise;
    },
  };
}

async function listen(server: Server, options: { host: string; port: number }): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.listen({ host: options.host, port: options.port }, resolve);
  try {
    await promise;
  } catch (error) {
    const message = `metrics cannot be served at ${options.host}:${options.port}: ${reasonOf(error)}`;
    throw new Fault("CONFIG_INVALID", message, { ...options }, { cause: error });
  }
}

function reasonOf(error: unknown): string {
  const code = error instanceof Error && "code" in error ? error.code : null;
  if (code === "EADDRINUSE") return "the port is in use";
  if (code === "EACCES") return "the port is not allowed for this user";
  return error instanceof Error ? error.message : String(error);
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  { metrics, host }: Pick<Parameters<typeof serveMetrics>[0], "metrics" | "host">,
): Promise<void> {
  request.resume(); // A body is nobody's business; it must not be kept.
  const hasBody = request.headers["transfer-encoding"] !== undefined;
  if (hasBody || Number(request.headers["content-length"] ?? 0) > 0) {
    return say(response, 413, "a request has no body\n");
  }
  if (request.method !== "GET" && request.method !== "HEAD") {
    response.setHeader("allow", "GET, HEAD");
    return say(response, 405, "only GET\n");
  }
  if (!isMeant(request.headers.host, host)) return say(response, 421, "not served here\n");
  const [path] = (request.url ?? "").split("?", 1);
  if (path !== "/metrics") return say(response, 404, "only /metrics\n");
  const text = await metrics.text();
  response.writeHead(200, {
    "content-type": metrics.contentType,
    "content-length": Buffer.byteLength(text),
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
  });
  response.end(request.method === "HEAD" ? undefined : text);
}

/** A page of the web can have its own name lead here (DNS rebinding); it cannot do that with an address. */
function isMeant(header: string | undefined, host: string): boolean {
  const name = (header ?? "").replace(/:\d{1,5}$/, "").toLowerCase();
  const bare = name.replace(/^\[|\]$/g, "");
  return name === "" || name === "localhost" || bare === host.toLowerCase() || isIP(bare) !== 0;
}

function say(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { "content-type": "text/plain; charset=utf-8", connection: "close" });
  response.end(text);
}
