import assert from "node:assert/strict";
import { test } from "vitest";
import { formatNbdAddress, isLoopback, nbdUri } from "./address.ts";

test("URIs are as other programs take them", () => {
  assert.equal(
    nbdUri({ path: "/run/a b/s.sock" }, "erp/data disk"),
    "nbd+unix:///erp%2Fdata%20disk?socket=/run/a%20b/s.sock",
  );
  assert.equal(nbdUri({ host: "127.0.0.1", port: 10_809 }, ""), "nbd://127.0.0.1:10809/");
  assert.equal(formatNbdAddress({ host: "::1", port: 1 }), "[::1]:1");
});

test("loopback is this host alone", () => {
  for (const host of ["127.0.0.1", "127.9.8.7", "::1", "localhost"]) {
    assert(isLoopback({ host, port: 1 }), host);
  }
  for (const host of ["0.0.0.0", "::", "10.0.0.1", "127.0.0.1.evil.example", "127.example"]) {
    assert(!isLoopback({ host, port: 1 }), host);
  }
});
