import fc from "fast-check";
import { expect, test } from "vitest";
import { decodeToken, encodeToken, type Invitation, parseSiteAddress } from "./token.ts";

const invitation: Invitation = {
  addresses: [
    { host: "vault.example", port: 7420 },
    { host: "2001:db8::7", port: 1 },
  ],
  fingerprint: "ab".repeat(32),
  id: "0123456789abcdef",
  secret: new Uint8Array(32).map((_, index) => index * 7),
};

test("reads back what was written, whatever stands around it", () => {
  const token = encodeToken(invitation);
  expect(token).toMatch(/^afterimage1-[A-Za-z0-9_-]+$/);
  const read = decodeToken(` ${token}\n`);
  expect({ ...read, secret: new Uint8Array(read.secret) }).toEqual(invitation);
});

test("a token with any character changed, missing or added is refused before anybody is asked", () => {
  const token = encodeToken(invitation);
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_ =.";
  for (let at = 0; at < token.length; at += 1) {
    const cut = token.slice(0, at) + token.slice(at + 1);
    expect(() => decodeToken(cut), cut).toThrow(/cannot be used/);
    const other = alphabet[(alphabet.indexOf(token[at]!) + 1 + at) % alphabet.length]!;
    if (other === token[at]) continue;
    const changed = token.slice(0, at) + other + token.slice(at + 1);
    // A blank at the very end is no part of it.
    if (changed.trim() === token) continue;
    expect(() => decodeToken(changed), changed).toThrow(/cannot be used/);
  }
  expect(() => decodeToken(`${token}A`)).toThrow(/cannot be used/);
});

test("anything else is TOKEN_INVALID, never another error", () => {
  const text = fc.oneof(
    fc.string(),
    fc.base64String().map((tail) => `afterimage1-${tail}`),
  );
  fc.assert(
    fc.property(text, (token) => {
      expect(() => decodeToken(token)).toThrow(expect.objectContaining({ code: "TOKEN_INVALID" }));
    }),
  );
});

test("addresses are host and port, IPv6 in brackets", () => {
  expect(parseSiteAddress("vault.example:7420")).toEqual({ host: "vault.example", port: 7420 });
  expect(parseSiteAddress("[::1]:65535")).toEqual({ host: "::1", port: 65_535 });
  for (const bad of ["", "vault", "vault:", "vault:0", "vault:65536", "::1:5", "a b:1", "[x]:1"]) {
    expect(parseSiteAddress(bad), bad).toBeNull();
  }
});
