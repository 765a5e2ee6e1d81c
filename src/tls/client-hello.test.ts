import { expect, test } from "vitest";
import { seededPrng } from "../base/prng.ts";
import { readFirstBytes } from "./client-hello.ts";
import { helloOf } from "./observed-for-test.ts";
import { firstRecordBytesMax } from "./tls-limits.ts";

test("reads the protocols of a TLS 1.3 hello, and waits for a part of one", async () => {
  const hello = await helloOf({ ALPNProtocols: ["x", "afterimage/1"], minVersion: "TLSv1.3" });
  expect(readFirstBytes(hello)).toEqual({ state: "hello", protocols: ["x", "afterimage/1"] });
  for (let length = 0; length < hello.length; length += 1) {
    expect(readFirstBytes(hello.subarray(0, length)), `${length}`).toEqual({ state: "incomplete" });
  }
  expect(readFirstBytes(Buffer.concat([hello, Buffer.of(1, 2)])).state).toBe("hello");
});

test("a hello of TLS 1.2 alone is refused, one of both is not", async () => {
  const older = await helloOf({ maxVersion: "TLSv1.2" });
  expect(readFirstBytes(older)).toEqual({ state: "refused", reason: "a TLS older than 1.3" });
  const both = await helloOf({ minVersion: "TLSv1.2", maxVersion: "TLSv1.3" });
  expect(readFirstBytes(both)).toEqual({ state: "hello", protocols: [] });
});

test("no bytes make it throw, or wait for more than one record", async () => {
  const hello = await helloOf({ ALPNProtocols: ["afterimage/1"] });
  const prng = seededPrng(11);
  for (let round = 0; round < 20_000; round += 1) {
    const bytes = Buffer.from(hello);
    for (let hits = prng.below(4); hits >= 0; hits -= 1) {
      bytes[prng.below(bytes.length)] = prng.below(256);
    }
    expect(["incomplete", "refused", "hello"]).toContain(readFirstBytes(bytes).state);
  }
  const endless = Buffer.alloc(firstRecordBytesMax, 0x16);
  endless.writeUInt16BE(0x0301, 1);
  endless.writeUInt16BE(firstRecordBytesMax - 5, 3);
  expect(readFirstBytes(endless).state).toBe("refused");
});
