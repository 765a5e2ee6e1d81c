import { execFile } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { gunzipSync } from "node:zlib";
import { MIB } from "../src/base/units.ts";
import { postgresData } from "./compress-database.ts";
import { progress } from "./harness.ts";

const run = promisify(execFile);

/** What a corpus has at most; of more, MiBs spread over the whole are taken. */
const corpusBytesMax = 96 * MIB;
/** Each of the four kinds in the mixed corpus contributes so much. */
const mixedShareBytes = 24 * MIB;

/** Debian packages that hold text and structured data: manuals, sources, dictionaries, JSON. */
const textPackages = [
  "postgresql-doc-15",
  "libpython3.11-stdlib",
  "wamerican",
  "wngerman",
  "iso-codes",
];
/** Pictures (JPEG, PNG) and sound (Ogg) as artists left them. */
const mediaPackages = ["mate-backgrounds", "sound-theme-freedesktop"];
/** Programs, libraries and what lies beside them; as packages they are compressed files. */
const applicationPackages = ["git", "libicu72", "busybox-static", "python3.11-minimal"];

/** Bytes of one kind as a disk holds them, but without the slack between files, which would compress. */
export interface Corpus {
  readonly name: "text" | "database" | "media" | "mixed";
  readonly bytes: Uint8Array;
}

/** Makes the four corpora. Needs apt-get and PostgreSQL 15; installs nothing. */
export async function makeCorpora(): Promise<readonly Corpus[]> {
  const directory = await mkdtemp(join(tmpdir(), "afb-compress-"));
  try {
    progress("compress: fetching and unpacking Debian packages");
    const text = await filesOf(await unpack(await fetchPackages(directory, textPackages)));
    const artPackages = await fetchPackages(directory, mediaPackages);
    const programPackages = await fetchPackages(directory, applicationPackages);
    const programs = await filesOf(await unpack(programPackages));
    const archives = [await filesOf(programPackages), await archiveOf(directory, text)];
    const media = Buffer.concat([await filesOf(await unpack(artPackages)), ...archives]);
    progress("compress: making a PostgreSQL data directory");
    const database = await filesOf(await postgresData(directory));
    const kinds = [text, database, media, programs];
    return [
      { name: "text", bytes: sampled(text, corpusBytesMax) },
      { name: "database", bytes: sampled(database, corpusBytesMax) },
      { name: "media", bytes: sampled(media, corpusBytesMax) },
      {
        name: "mixed",
        bytes: Buffer.concat(kinds.map((bytes) => sampled(bytes, mixedShareBytes))),
      },
    ];
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function fetchPackages(within: string, packages: readonly string[]): Promise<string> {
  const directory = await mkdtemp(join(within, "fetched-"));
  // As root, apt would hand the download to a user who may not write there.
  const words = ["download", "-q", "-o", "APT::Sandbox::User=root", ...packages];
  await run("apt-get", words, { cwd: directory });
  return directory;
}

async function unpack(packages: string): Promise<string> {
  const directory = `${packages}-unpacked`;
  for (const name of await readdir(packages)) {
    await run("dpkg-deb", ["--extract", join(packages, name), directory]);
  }
  return directory;
}

/** The content of every file beneath, in the order of names; what is gzipped (manuals) is unpacked. */
async function filesOf(directory: string): Promise<Uint8Array> {
  const names = await readdir(directory, { recursive: true });
  const parts: Uint8Array[] = [];
  for (const name of names.sort()) {
    const path = join(directory, name);
    // Links lead to what is there already, or to nothing.
    if (!(await stat(path).catch(() => null))?.isFile()) continue;
    const content = await readFile(path);
    parts.push(name.endsWith(".gz") ? gunzipSync(content) : content);
  }
  return Buffer.concat(parts);
}

/** The text once more, as an archive that somebody packed. */
async function archiveOf(directory: string, text: Uint8Array): Promise<Uint8Array> {
  const path = join(directory, "archive");
  await writeFile(path, text);
  await run("xz", ["-1", "-T2", path]);
  return await readFile(`${path}.xz`);
}

/** At most so many bytes: whole MiBs spread evenly over all of them. */
function sampled(bytes: Uint8Array, bytesMax: number): Uint8Array {
  const taken = bytesMax / MIB;
  const there = Math.floor(bytes.length / MIB);
  if (there <= taken) return bytes.subarray(0, there * MIB);
  return Buffer.concat(
    Array.from({ length: taken }, (_, index) => {
      const at = Math.floor((index * there) / taken) * MIB;
      return bytes.subarray(at, at + MIB);
    }),
  );
}
