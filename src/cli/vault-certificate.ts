import { join } from "node:path";
import type { Command } from "commander";
import { writeFileAtomically } from "../base/atomic-file.ts";
import { Fault } from "../base/fault.ts";
import { openVault, type Vault } from "../journal/vault.ts";
import { openAuthority, readAuthority } from "../tls/authority-store.ts";
import type { Authority } from "../tls/certificates.ts";
import { issueReader } from "../tls/readers.ts";
import { absolutePath, peerNameArgument, wholeNumber } from "./arguments.ts";
import { type CommandContext, type CommonOptions, printResult } from "./command-context.ts";
import { verbCommand } from "./program.ts";
import { formatInstant } from "./table.ts";
import { type VaultOption, vaultDirectoryOf, vaultOption } from "./vault-option.ts";

const dayMs = 86_400_000;
const daysDefault = 365;
const daysMax = 3650;

interface CertificateOptions extends CommonOptions, VaultOption {
  readonly out: string;
  readonly days: number;
}

/** `afterimage vault certificate NAME --out DIR` */
export function certificateCommand(context: CommandContext): Command {
  return verbCommand(
    "certificate",
    "make key and certificate for a host that reads points over NBD",
    "afterimage vault certificate recovery-host --vault /srv/vault --out /etc/afterimage-tls",
  )
    .argument("<name>", "the host, or whatever reads")
    .addOption(vaultOption())
    .requiredOption("--out <directory>", "where the files go; made when it is not there")
    .option("--days <days>", "how long it is good", wholeNumber(1, daysMax), daysDefault)
    .addHelpText(
      "after",
      "\nThe files are those that QEMU (tls-creds-x509, endpoint=client) and libnbd (tls-certificates) look for. An earlier certificate of the name is not believed any more; `afterimage vault revoke NAME` ends this one.",
    )
    .action((name: string, options: CertificateOptions) => runCertificate(context, name, options));
}

async function runCertificate(
  context: CommandContext,
  argument: string,
  options: CertificateOptions,
): Promise<void> {
  const { files, locks, clock, prng } = context;
  const name = peerNameArgument(argument);
  const directory = absolutePath(options.out);
  const at = (file: string) => join(directory, file);
  for (const file of ["ca-cert.pem", "client-cert.pem", "client-key.pem"]) {
    if ((await files.stat(at(file))) === null) continue;
    throw new Fault("USAGE", `${at(file)} is there already; name another --out`, {
      path: at(file),
    });
  }
  const vaultDirectory = vaultDirectoryOf(options);
  const reading = { files, locks, clock, prng, directory: vaultDirectory, mode: "read" } as const;
  await using vault = await openVault(reading);
  const authority = await authorityOf(context, vault);
  const validMs = options.days * dayMs;
  const wish = { files, vaultDirectory, authority, name, validMs, clock, prng };
  const { identity, holder } = await issueReader(wish);
  await files.makeDirectory(directory);
  const isPrivate = true;
  await writeFileAtomically(files, at("client-key.pem"), Buffer.from(identity.privateKeyPem), {
    isPrivate,
  });
  await writeFileAtomically(files, at("client-cert.pem"), Buffer.from(identity.certificatePem));
  await writeFileAtomically(files, at("ca-cert.pem"), Buffer.from(authority.certificatePem));
  const { notAfterMs } = holder;
  printResult(context, options, {
    json: { name, directory, notAfterMs },
    text: `Made a certificate for ${name} in ${directory}, good until ${formatInstant(notAfterMs)}.`,
  });
}

/** The first certificate of a vault makes its authority too, for which nobody else may be writing. */
async function authorityOf(context: CommandContext, reader: Vault): Promise<Authority> {
  const { files, locks, clock, prng } = context;
  const { directory, description } = reader;
  const held = await readAuthority(files, directory);
  if (held !== null) return held;
  await using _writer = await openVault({ files, locks, clock, prng, directory, mode: "write" });
  return await openAuthority({
    files,
    vaultDirectory: directory,
    vaultId: description.id,
    clock,
    prng,
  });
}
