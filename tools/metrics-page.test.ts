import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { z } from "zod";
import { type MetricEntry, metricPrefix, metricTable } from "../src/http/metric-table.ts";
import { metricsPage } from "./metrics-page.ts";

const alertsSchema = z.strictObject({
  groups: z.array(
    z.strictObject({
      name: z.string(),
      rules: z.array(
        z.strictObject({
          alert: z.string(),
          expr: z.string(),
          for: z.string(),
          labels: z.strictObject({ severity: z.enum(["critical", "warning"]) }),
          annotations: z.strictObject({ summary: z.string(), action: z.string() }),
        }),
      ),
    }),
  ),
});
const text = await readFile(new URL("../docs/operating/alerts.yaml", import.meta.url), "utf8");
const { groups } = alertsSchema.parse(parse(text));
const rules = groups.flatMap((group) => group.rules);

test("alert rules name only metrics and labels that there are", () => {
  for (const { alert, expr } of rules) {
    for (const [, name = "", , matchers = ""] of expr.matchAll(/afterimage_(\w+)(\{([^}]*)\})?/g)) {
      const entry: MetricEntry | undefined = Object.entries(metricTable).find(
        ([key]) => key === name,
      )?.[1];
      expect(entry, `${alert}: ${name}`).toBeDefined();
      for (const [, label = ""] of matchers.matchAll(/(\w+)=/g)) {
        expect([...(entry?.labels ?? []), "job"], `${alert}: ${label}`).toContain(label);
      }
    }
  }
});

test("a silent source and a silent vault are alarms at the recovery site", () => {
  const vault = groups.find(({ name }) => name === "afterimage-vault")?.rules ?? [];
  expect(vault.map(({ alert }) => alert)).toEqual(
    expect.arrayContaining(["AfterimageSourceSilent", "AfterimageVaultNotScraped"]),
  );
});

test("the page has each metric once", () => {
  const page = metricsPage();
  for (const name of Object.keys(metricTable)) {
    expect(page.split(`\`${metricPrefix}${name}\``), name).toHaveLength(2);
  }
});
