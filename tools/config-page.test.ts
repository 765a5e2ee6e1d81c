import { expect, test } from "vitest";
import { parseConfig } from "../src/cli/config.ts";
import { configPage } from "./config-page.ts";

test("the examples on the page are configurations", () => {
  const examples = [...configPage().matchAll(/```yaml\n(.*?)```/gs)].map(([, text]) => text ?? "");
  expect(examples).toHaveLength(2);
  const [up, twoSites] = examples.map((text) => parseConfig(text, "example"));
  expect(up).toMatchObject({ vault: "/srv/vault", retention: { ageSeconds: 604_800 } });
  expect(twoSites).toMatchObject({ targetRpoSeconds: 15, link: { bytesPerSecondMax: 62_914_560 } });
});
