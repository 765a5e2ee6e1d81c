import { Fault } from "../../base/fault.ts";
import type { NbdPlace } from "../../qemu/machine-arguments.ts";

const nbdPortDefault = 10_809; // IANA; NetworkBlockDevice/nbd, doc/uri.md.

/** Reads an NBD URI without TLS (NetworkBlockDevice/nbd, doc/uri.md). USAGE when it is none. */
export function parseNbdUri(text: string): NbdPlace {
  const uri = URL.parse(text);
  const exportName = decodeURIComponent(uri?.pathname.replace(/^\//, "") ?? "");
  const path = uri?.searchParams.get("socket") ?? null;
  if (uri?.protocol === "nbd+unix:" && path !== null && path !== "") {
    return { server: { type: "unix", path }, export: exportName };
  }
  if (uri?.protocol === "nbd:" && uri.hostname !== "") {
    const host = uri.hostname.replace(/^\[|\]$/g, "");
    const port = uri.port === "" ? String(nbdPortDefault) : uri.port;
    return { server: { type: "inet", host, port }, export: exportName };
  }
  throw new Fault("USAGE", `${text} is not an NBD URI`, { uri: text });
}
