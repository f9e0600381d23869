#!/usr/bin/env node
// Everything that must hold before the contracts change: formatting, a build without warnings, sizes, every test, what
// each call costs, and that the committed artifacts are what the source gives. Needs `npm ci --ignore-scripts` once, and
// no network after that. Runs all steps, says how long each took, and exits 1 if any failed.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");
const forge = join(root, "node_modules/.bin/forge");
if (!existsSync(forge)) {
  console.error("contracts: forge is not installed; run `npm ci --ignore-scripts` in market/contracts");
  process.exit(1);
}

const steps = [
  ["formatted", forge, ["fmt", "--check"]],
  // `--sizes` fails on a contract that no chain would take.
  ["builds without a warning, within the size limit", forge, ["build", "--sizes"]],
  ["tests and invariants hold, and calls cost what snapshots/gas.json says", forge, ["test"]],
  ["artifacts match the source", process.execPath, [join(root, "tools/artifacts.mjs"), "--check"]],
];

let failed = 0;
for (const [what, program, args] of steps) {
  const started = Date.now();
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    cwd: root,
    encoding: "utf8",
    maxBuffer: 64 << 20,
    env: { ...process.env, FORGE_SNAPSHOT_CHECK: "true", NO_COLOR: "1" },
  });
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  const ok = status === 0;
  console.log(`contracts: ${ok ? "ok    " : "FAILED"} ${what} (${seconds} s)`);
  for (const line of stdout?.split("\n") ?? []) {
    if (/^Ran \d+ test suites?|^\[PASS\] invariant_|^\| (Market|ProviderRegistry|Params|TestToken) /.test(line)) {
      console.log(`           ${line}`);
    }
  }
  if (!ok) {
    failed += 1;
    console.error(error ? String(error) : `${stdout}${stderr}`);
  }
}
console.log(failed === 0 ? "contracts: all checks hold" : `contracts: ${failed} of ${steps.length} checks failed`);
process.exit(failed === 0 ? 0 : 1);
