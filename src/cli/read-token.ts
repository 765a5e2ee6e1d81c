import { readSmallFile } from "../base/atomic-file.ts";
import { Fault } from "../base/fault.ts";
import { KIB } from "../base/units.ts";
import { absolutePath } from "./arguments.ts";
import type { CommandContext } from "./command-context.ts";

/** A token is one line. */
const tokenLengthBytesMax = 16 * KIB;

/** The token that a person gave: as an argument, by a file, or through stdin. USAGE when it is none of these or several. */
export async function readToken(
  context: CommandContext,
  given: { readonly argument: string | undefined; readonly file: string | null },
  stdin: AsyncIterable<Uint8Array> = process.stdin,
): Promise<string> {
  const { argument, file } = given;
  if ((argument === undefined) === (file === null)) {
    throw new Fault("USAGE", "give the token, - for stdin, or --token-file, one of them");
  }
  if (file !== null) return fromFile(context, absolutePath(file));
  if (argument === "-") return fromStream(stdin);
  return argument ?? "";
}

async function fromFile({ files }: CommandContext, path: string): Promise<string> {
  const content = await readSmallFile(files, path, tokenLengthBytesMax).catch((error) => {
    if (!(error instanceof RangeError)) throw error;
    throw new Fault("TOKEN_INVALID", `${path} is too long for a token`, { path }, { cause: error });
  });
  if (content === null) throw new Fault("STORAGE_MISSING", `${path}: no such file`, { path });
  return oneLine(Buffer.from(content).toString(), path);
}

async function fromStream(stdin: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = [];
  let lengthBytes = 0;
  for await (const part of stdin) {
    lengthBytes += part.length;
    if (lengthBytes > tokenLengthBytesMax) {
      throw new Fault("TOKEN_INVALID", "stdin is too long for a token");
    }
    parts.push(part);
  }
  return oneLine(Buffer.concat(parts).toString(), "stdin");
}

function oneLine(text: string, from: string): string {
  const token = text.trim();
  if (token !== "") return token;
  throw new Fault("TOKEN_INVALID", `there is no token in ${from}`, { from });
}
