import { resolve } from "node:path";
import { InvalidArgumentError } from "commander";
import { Fault } from "../base/fault.ts";
import { type GroupName, parseGroupName } from "../core/ids.ts";
import { isHolderName } from "../tls/identity.ts";
import { parseSize } from "./config-values.ts";

/** A path that a person typed, from the directory they are in. */
export function absolutePath(argument: string): string {
  return resolve(argument);
}

/** A group's name as a person typed it. USAGE when it cannot be one. */
export function groupArgument(argument: string): GroupName {
  const name = parseGroupName(argument);
  if (name !== null) return name;
  throw new Fault("USAGE", `"${argument}" cannot be a group's name`, { group: argument });
}

/** A replicator's name as a person typed it. USAGE when it cannot be one. */
export function peerNameArgument(argument: string): string {
  if (isHolderName(argument)) return argument;
  throw new Fault("USAGE", `"${argument}" cannot be a replicator's name`, { name: argument });
}

/** For commander: a whole number within bounds. */
export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw new InvalidArgumentError(`It is a whole number from ${min} to ${max}.`);
  };
}

/** For commander: bytes, "1048576" or "4GiB". */
export function sizeArgument(text: string): number {
  const value = parseSize(text);
  if (value !== null && Number.isSafeInteger(value) && value > 0) return value;
  throw new InvalidArgumentError('It is a number of bytes, or a size such as "512MiB", "4GiB".');
}
