import { defineConfig } from "vitest/config";

// Two projects: `fast` is the inner loop (no root, no QEMU), `real` starts other people's programs.
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "fast",
          include: ["{src,sim,bench,demo,tools,test/tidy,test/two-sites}/**/*.test.ts"],
          exclude: ["**/*.real.test.ts"],
          testTimeout: 30_000,
        },
      },
      {
        test: {
          name: "real",
          include: [
            "src/**/*.real.test.ts",
            "sim/**/*.real.test.ts",
            "test/**/*.real.test.ts",
            "tools/**/*.real.test.ts",
          ],
          globalSetup: ["test/guest/global-setup.ts"],
          testTimeout: 180_000,
          hookTimeout: 180_000,
          maxWorkers: 2,
        },
      },
    ],
  },
});
