import { z } from "zod";
import { Fault } from "../base/fault.ts";
import { diskSizeBytesMax } from "../core/limits.ts";
import { runTool } from "./run-tool.ts";

/** Image formats that we make and open. */
export type ImageFormat = "raw" | "qcow2";

/** What `qemu-img info` says of an image file. */
export interface ImageInfo {
  /** QEMU's name of the format; may be another than ours. */
  readonly format: string;
  readonly sizeBytes: number;
  /** Persistent bitmaps by name; `in-use` means inconsistent when no process holds the image. */
  readonly bitmaps: readonly { readonly name: string; readonly flags: readonly string[] }[];
  /** The image beneath, or null. */
  readonly backing: string | null;
}

const infoSchema = z.object({
  format: z.string(),
  "virtual-size": z.int().nonnegative().max(diskSizeBytesMax),
  "backing-filename": z.string().optional(),
  "format-specific": z
    .object({
      data: z
        .object({
          bitmaps: z
            .array(z.object({ name: z.string(), flags: z.array(z.string()) }))
            .max(65_535)
            .optional(),
        })
        .optional(),
    })
    .optional(),
});

/** Describes an image, also one that a running machine holds. STORAGE_MISSING, TOOL_MISSING, TOOL_FAILED, ABORTED. */
export async function imageInfo(
  path: string,
  options: { readonly signal?: AbortSignal } = {},
): Promise<ImageInfo> {
  const args = ["info", "--output=json", "--force-share", "--", path];
  const text = await runTool("qemu-img", args, options).catch((error: unknown) => {
    throw imageFault(path, error);
  });
  const info = infoSchema.safeParse(JSON.parse(text));
  if (!info.success) {
    const message = `qemu-img info of ${path} is not what QEMU documents`;
    throw new Fault("TOOL_FAILED", message, { path }, { cause: info.error });
  }
  return {
    format: info.data.format,
    sizeBytes: info.data["virtual-size"],
    bitmaps: info.data["format-specific"]?.data?.bitmaps ?? [],
    backing: info.data["backing-filename"] ?? null,
  };
}

/** Makes an empty image. Replaces a file that is there. STORAGE_*, TOOL_MISSING, TOOL_FAILED, ABORTED. */
export async function createImage(
  path: string,
  options: {
    readonly format: ImageFormat;
    readonly sizeBytes: number;
    readonly signal?: AbortSignal;
  },
): Promise<void> {
  const { format, sizeBytes, signal } = options;
  const args = ["create", "-q", "-f", format, "--", path, String(sizeBytes)];
  await runTool("qemu-img", args, { signal }).catch((error: unknown) => {
    throw imageFault(path, error);
  });
}

function imageFault(path: string, error: unknown): unknown {
  if (!(error instanceof Fault) || error.code !== "TOOL_FAILED") return error;
  const words = String(error.details.words);
  const options = { cause: error };
  if (/No such file or directory/.test(words)) {
    return new Fault("STORAGE_MISSING", `${path} is not there`, { path }, options);
  }
  if (/Permission denied/.test(words)) {
    return new Fault("STORAGE_DENIED", `${path}: ${words}`, { path }, options);
  }
  if (/No space left on device/.test(words)) {
    return new Fault("STORAGE_FULL", `${path}: ${words}`, { path }, options);
  }
  return error;
}
