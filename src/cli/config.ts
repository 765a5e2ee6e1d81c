import { type Document, isMap, isNode, LineCounter, parseDocument } from "yaml";
import type { z } from "zod";
import { readSmallFile } from "../base/atomic-file.ts";
import { Fault } from "../base/fault.ts";
import type { FileSystem } from "../base/file-system.ts";
import { MIB } from "../base/units.ts";
import { type Contradiction, contradictionsOf, type IsGiven } from "./config-contradictions.ts";
import { type Config, configSchema } from "./config-schema.ts";

/** A configuration is written by a person. */
export const configLengthBytesMax = MIB;
/** So that a file full of mistakes stays readable. */
const problemsShownMax = 5;

type KeyPath = readonly PropertyKey[];

/** Reads, checks and freezes a configuration file. STORAGE_MISSING, CONFIG_INVALID. */
export async function readConfig(files: FileSystem, path: string): Promise<Config> {
  return parseConfig(await readConfigText(files, path), path);
}

/** The text of a configuration file. STORAGE_MISSING, CONFIG_INVALID when it is too long. */
export async function readConfigText(files: FileSystem, path: string): Promise<string> {
  const content = await readSmallFile(files, path, configLengthBytesMax).catch((error) => {
    if (!(error instanceof RangeError)) throw error;
    throw new Fault("CONFIG_INVALID", error.message, { path }, { cause: error });
  });
  if (content === null) throw new Fault("STORAGE_MISSING", `${path}: no such file`, { path });
  return Buffer.from(content).toString();
}

/** The configuration in `text`. CONFIG_INVALID, whose message has a place and a reason for each problem. */
export function parseConfig(text: string, name: string): Config {
  return parseYaml(text, name, { schema: configSchema, contradictionsOf });
}

/** What `schema` makes of a YAML text, frozen. CONFIG_INVALID, whose message has a place and a reason for each problem. */
export function parseYaml<Value>(
  text: string,
  name: string,
  options: {
    readonly schema: z.ZodType<Value>;
    /** What the schema cannot see; `isGiven` tells a value from a default. */
    readonly contradictionsOf?: (value: Value, isGiven: IsGiven) => readonly Contradiction[];
  },
): Value {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const broken = document.errors[0];
  if (broken !== undefined) {
    const { line } = lines.linePos(broken.pos[0]);
    throw invalid([`${name}:${line}: ${broken.message}`]);
  }
  const place = (path: KeyPath, key?: string) => {
    const line = lineOf(document, lines, path, key);
    const at = formatPath(key === undefined ? path : [...path, key]);
    return `${name}:${line}: ${at === "" ? "" : `${at}: `}`;
  };
  const parsed = options.schema.safeParse(plainValue(document, name) ?? {});
  if (!parsed.success)
    throw invalid(parsed.error.issues.flatMap((issue) => describe(issue, place)));
  const contradictions =
    options.contradictionsOf?.(parsed.data, (path) => document.hasIn(path)) ?? [];
  if (contradictions.length > 0) {
    throw invalid(contradictions.map(({ path, message }) => `${place(path)}${message}`));
  }
  return deepFreeze(parsed.data);
}

/** Aliases can make a small text large; the parser bounds them. */
function plainValue(document: Document, name: string): unknown {
  try {
    return document.toJS();
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new Fault("CONFIG_INVALID", `${name}: ${message}`, {}, { cause: error });
  }
}

function describe(
  issue: z.core.$ZodIssue,
  place: (path: KeyPath, key?: string) => string,
): readonly string[] {
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => `${place(issue.path, key)}unknown key`);
  }
  if (issue.code === "invalid_union") {
    // The member that understood the value says more than the union does.
    const inner = issue.errors.flat().find((one) => one.code === "custom");
    return [`${place(issue.path)}${inner?.message ?? issue.message}`];
  }
  const isMissing = issue.code === "invalid_type" && /undefined/.test(issue.message);
  return [`${place(issue.path)}${isMissing ? "this key is missing" : issue.message}`];
}

/** The line of a key, or of the nearest thing around it that is there. */
function lineOf(document: Document, lines: LineCounter, path: KeyPath, key?: string): number {
  for (let length = path.length; length >= 0; length -= 1) {
    const node = length === 0 ? document.contents : document.getIn(path.slice(0, length), true);
    if (!isNode(node)) continue;
    const pair = isMap(node) ? node.items.find((item) => String(item.key) === key) : undefined;
    const named = isNode(pair?.key) ? pair.key : node;
    return named.range ? lines.linePos(named.range[0]).line : 1;
  }
  return 1;
}

function formatPath(path: KeyPath): string {
  return path.reduce<string>(
    (before, step) =>
      typeof step === "number" ? `${before}[${step}]` : `${before}${before && "."}${String(step)}`,
    "",
  );
}

function invalid(problems: readonly string[]): Fault {
  const shown = problems.slice(0, problemsShownMax);
  const left = problems.length - shown.length;
  const message = [...shown, ...(left > 0 ? [`and ${left} more`] : [])].join("; ");
  return new Fault("CONFIG_INVALID", message, { problems: problems.length });
}

function deepFreeze<Value>(value: Value): Value {
  if (typeof value === "object" && value !== null) {
    for (const inner of Object.values(value)) deepFreeze(inner);
    Object.freeze(value);
  }
  return value;
}
