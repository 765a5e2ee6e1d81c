import { expect, test } from "vitest";
import { nbdUri } from "../../nbd/address.ts";
import { parseNbdUri } from "./nbd-place.ts";

test("reads the URIs that our server gives out", () => {
  expect(parseNbdUri(nbdUri({ path: "/run/a b/x.sock" }, "db/data"))).toEqual({
    server: { type: "unix", path: "/run/a b/x.sock" },
    export: "db/data",
  });
  expect(parseNbdUri(nbdUri({ host: "::1", port: 10_810 }, ""))).toEqual({
    server: { type: "inet", host: "::1", port: "10810" },
    export: "",
  });
});

test("the port may be left out", () => {
  expect(parseNbdUri("nbd://127.0.0.1/data")).toEqual({
    server: { type: "inet", host: "127.0.0.1", port: "10809" },
    export: "data",
  });
});

test.each([
  "",
  "data",
  "/run/x.sock",
  "nbd+unix:///data",
  "https://example.org/data",
  "nbds://h/x",
])("refuses %j", (text) => {
  expect(() => parseNbdUri(text)).toThrow(expect.objectContaining({ code: "USAGE" }));
});
