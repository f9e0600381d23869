#!/usr/bin/env node
// slither.mjs FOLDER: runs slither (named by the variable SLITHER) over the build in FOLDER, which forge made with
// --build-info, and fails on a finding that tools/triage.json does not explain, and on an explanation that explains
// nothing any more. Exit code 3: there is no slither.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");
const [, , built] = process.argv;
const slither = process.env.SLITHER;
if (!slither) {
  console.log("slither is not installed: run `cargo e2e tools` where pip reaches a package index, or set SLITHER");
  process.exit(3);
}
const { leftOut, findings: explained } = JSON.parse(readFileSync(join(root, "tools/triage.json"), "utf8"));

const scratch = mkdtempSync(join(tmpdir(), "slither-"));
const report = join(scratch, "report.json");
const { stderr, error } = spawnSync(
  slither,
  [
    [".", "--ignore-compile", "--foundry-out-directory", built, "--json", report],
    ["--filter-paths", "node_modules", "--exclude-informational", "--exclude-optimization"],
    ["--exclude", Object.keys(leftOut).join(",")],
  ].flat(),
  {
    cwd: root,
    encoding: "utf8",
    maxBuffer: 64 << 20,
    // It asks forge for the settings.
    env: { ...process.env, PATH: `${join(root, "node_modules/.bin")}:${process.env.PATH}` },
  },
);
let answer;
try {
  answer = JSON.parse(readFileSync(report, "utf8"));
} catch {
  console.error(error ? String(error) : stderr);
  process.exit(1);
} finally {
  rmSync(scratch, { recursive: true });
}
if (!answer.success) {
  console.error(answer.error);
  process.exit(1);
}

/** The function a finding is in, as `Contract.function`, or the contract. */
function place(element) {
  if (!element) return "?";
  const parent = element.type_specific_fields?.parent;
  if (element.type === "function") return `${parent.name}.${element.name}`;
  return parent ? place(parent) : element.name;
}

const found = (answer.results.detectors ?? []).map(({ check, impact, elements, description }) => ({
  check,
  impact,
  where: place(elements[0]),
  description: description.trim(),
}));
/** Whether a finding is the one explained; `Contract.*` means every function of it. */
const fits = (finding, check, where) =>
  finding.check === check &&
  (finding.where === where || (where.endsWith(".*") && finding.where.startsWith(where.slice(0, -1))));
const places = explained.flatMap(({ check, where }) => where.map((place) => [check, place]));
const open = found.filter((finding) => !places.some(([check, where]) => fits(finding, check, where)));
const stale = places.filter(([check, where]) => !found.some((finding) => fits(finding, check, where)));
for (const { check, impact, where, description } of open) {
  console.error(`slither: ${impact}: ${check} in ${where}, which tools/triage.json does not explain:\n${description}`);
}
for (const [check, where] of stale) {
  console.error(`slither: tools/triage.json explains ${check} in ${where}, which is not found any more`);
}
if (open.length + stale.length !== 0) process.exit(1);
console.log(`${found.length} findings, all explained in tools/triage.json`);
