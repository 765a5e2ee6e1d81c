import type { FileSystem } from "../base/file-system.ts";
import { parseYaml, readConfigText } from "./config.ts";
import { type VaultConfig, vaultConfigSchema } from "./vault-config-schema.ts";

/** Reads, checks and freezes a vault's configuration. STORAGE_MISSING, CONFIG_INVALID. */
export async function readVaultConfig(files: FileSystem, path: string): Promise<VaultConfig> {
  return parseVaultConfig(await readConfigText(files, path), path);
}

/** A vault's configuration in `text`; an empty one is valid. CONFIG_INVALID. */
export function parseVaultConfig(text: string, name: string): VaultConfig {
  return parseYaml(text, name, { schema: vaultConfigSchema, contradictionsOf });
}

function contradictionsOf({ groups }: VaultConfig) {
  const seen = new Set<string>();
  return groups.flatMap(({ name }, place) => {
    if (!seen.has(name)) {
      seen.add(name);
      return [];
    }
    return [{ path: ["groups", place, "name"], message: `${name} stands there twice` }];
  });
}
