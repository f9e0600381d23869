#!/usr/bin/env node
// How much of src/ the tests reach, by lines and branches, and whether that is enough. The campaign and the figures of
// gas are left out: what only chance reaches is not tested. The older code generator does the measuring (profile
// `coverage` of foundry.toml), because through the newer one forge sees no branch of a `require`.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const LEAST = { lines: 98, branches: 95 };
const root = join(import.meta.dirname, "..");
const scratch = mkdtempSync(join(tmpdir(), "coverage-"));
const lcov = join(scratch, "lcov.info");
const { status, stdout, stderr } = spawnSync(
  join(root, "node_modules/.bin/forge"),
  ["coverage", "--report", "lcov", "--report-file", lcov, "--no-match-path", "test/{invariant/*,Gas.t.sol}"],
  { cwd: root, encoding: "utf8", maxBuffer: 64 << 20, env: { ...process.env, FOUNDRY_PROFILE: "coverage" } },
);
if (status !== 0) {
  console.error(`${stdout}${stderr}`);
  process.exit(1);
}

const files = new Map();
let file;
for (const line of readFileSync(lcov, "utf8").split("\n")) {
  const [kind, rest] = line.split(/:(.*)/);
  const fields = rest?.split(",") ?? [];
  if (kind === "SF") {
    file = { lines: [0, 0], branches: [0, 0], missed: [] };
    if (rest.startsWith("src/")) files.set(rest, file);
  }
  const counted = { DA: "lines", BRDA: "branches" }[kind];
  if (!counted) continue;
  const hit = !["0", "-"].includes(fields.at(-1));
  file[counted][0] += hit;
  file[counted][1] += 1;
  if (!hit) file.missed.push(`${fields[0]}${kind === "BRDA" ? ` (branch ${fields[2]})` : ""}`);
}
rmSync(scratch, { recursive: true });

const sum = (counted) => [...files.values()].reduce(([hit, all], it) => [hit + it[counted][0], all + it[counted][1]], [0, 0]);
const percent = ([hit, all]) => (all === 0 ? 100 : (100 * hit) / all);
const shown = (counts) => `${percent(counts).toFixed(2)} % (${counts[0]} of ${counts[1]})`;
const total = { lines: sum("lines"), branches: sum("branches") };
for (const [name, { lines, branches, missed }] of files) {
  const misses = missed.length === 0 ? "" : `, missed: ${missed.join(", ")}`;
  console.log(`coverage: ${name}: lines ${shown(lines)}, branches ${shown(branches)}${misses}`);
}
console.log(`coverage: src/: lines ${shown(total.lines)}, branches ${shown(total.branches)}`);
const low = Object.keys(LEAST).filter((counted) => !(total[counted][1] > 0 && percent(total[counted]) >= LEAST[counted]));
for (const counted of low) console.error(`coverage: fewer than ${LEAST[counted]} % of ${counted} are reached`);
process.exit(low.length === 0 ? 0 : 1);
