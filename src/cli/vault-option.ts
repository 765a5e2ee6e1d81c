import { Option } from "commander";
import { absolutePath } from "./arguments.ts";

/** Where a vault lies when nobody says otherwise; the package's service uses it. */
export const vaultDirectoryDefault = "/var/lib/afterimage/vault";

/** Options of verbs about a vault that is usually the only one of its host. */
export interface VaultOption {
  readonly vault: string;
}

/** `--vault DIR` */
export function vaultOption(): Option {
  return new Option("--vault <directory>", "the vault")
    .env("AFTERIMAGE_VAULT")
    .default(vaultDirectoryDefault);
}

/** The directory that was meant. */
export function vaultDirectoryOf(options: VaultOption): string {
  return absolutePath(options.vault);
}
