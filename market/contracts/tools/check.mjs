#!/usr/bin/env node
// Everything that must hold before the contracts change: formatting, lints, a build without warnings, sizes, every test
// and the campaign, what each call costs, coverage, storage layouts, a second build that gives the same bytes, slither,
// and that the committed artifacts are what the source gives. Needs `npm ci --ignore-scripts` once, and no network after
// that. Runs all steps in two lanes, because the compiler uses one core; says how long each took; exits 1 if any failed.
//
// `--long` makes the campaign ten times as long. Slither is named by SLITHER; without it that step is NOT RUN, which is
// said and counts neither as passed nor as failed.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");
const forge = join(root, "node_modules/.bin/forge");
if (!existsSync(forge)) {
  console.error("contracts: forge is not installed; run `npm ci --ignore-scripts` in market/contracts");
  process.exit(1);
}
const long = process.argv.includes("--long");
/** How a step of ours says that it could not be run here. */
const NOT_RUN = 3;
/** The second build: apart from the first, with what the checks on it read. */
const AGAIN = ["--out", "again/out", "--cache-path", "again/cache"];

const ours = (tool, ...args) => [process.execPath, [join(root, "tools", tool), ...args]];
const lanes = [
  [
    ["formatted", forge, ["fmt", "--check"]],
    // `--sizes` fails on a contract that no chain would take; what the tests are made of goes onto none.
    ["builds without a warning, within the size limit", forge, ["build", "src", "--force", "--sizes"]],
    ["nothing to lint", forge, ["lint"]],
    [
      "tests and invariants hold, and calls cost what snapshots/gas.json says",
      forge,
      ["test"],
      { FORGE_SNAPSHOT_CHECK: "true", ...(long && { FOUNDRY_INVARIANT_RUNS: "1280" }) },
      (stdout) => moves(stdout).never.map((move) => `the campaign never made this move: ${move}`),
    ],
    ["artifacts match the source", ...ours("artifacts.mjs", "--check")],
    ["README.md tells the gas that was measured", ...ours("gas.mjs", "--check")],
  ],
  [
    [
      "builds again from nothing",
      forge,
      ["build", "src", "--force", "--build-info", "--extra-output", "storageLayout", ...AGAIN],
    ],
    ["is the same, byte for byte, by the compiler that is named", ...ours("compiled.mjs", "again/out")],
    ["storage lies where storage/ says", ...ours("layouts.mjs", "--check", "again/out")],
    ["slither finds nothing that is not explained", ...ours("slither.mjs", "again/out")],
    ["tests reach what they must", ...ours("coverage.mjs")],
  ],
];

/**
 * How often each move of the campaign was made, from forge's table of calls, reverts and discards. A move that was never
 * made is a mistake in the handlers: nothing was tested with it.
 */
function moves(stdout) {
  const rows = [...stdout.matchAll(/^\| Everybody +\| (\w+) +\| (\d+) +\| \d+ +\| (\d+) +\|$/gm)];
  const made = rows.map(([, move, calls, discards]) => [move, calls - discards]).sort(([, a], [, b]) => a - b);
  const never = made.filter(([, times]) => times === 0).map(([move]) => move);
  if (made.length === 0) never.push("no move at all");
  return { never, told: `moves made: ${made.map(([move, times]) => `${move} ${times}`).join(", ")}` };
}

/** What a step is heard to say; of forge only the figures. */
function figures(program, stdout) {
  const lines = stdout.split("\n").filter((line) => line.trim() !== "");
  if (program !== forge) return lines;
  const heard = lines.filter((line) =>
    /^Ran \d+ test suites?|^\[PASS\] invariant_|^\| (Market|MarketLens|ProviderRegistry|AuditorRegistry|Params|Timelock|TestToken) /.test(line),
  );
  return stdout.includes("| Everybody") ? [...heard, moves(stdout).told] : heard;
}

/** Runs one step to its end; answers its exit code. */
async function run([what, program, args, env = {}, judge = () => []]) {
  const started = Date.now();
  let stdout = "";
  let stderr = "";
  const child = spawn(program, args, {
    cwd: root,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, NO_COLOR: "1", ...env },
  });
  child.stdout.on("data", (bytes) => (stdout += bytes));
  child.stderr.on("data", (bytes) => (stderr += bytes));
  const ended = await new Promise((resolve) => {
    child.on("error", (error) => {
      stderr += String(error);
      resolve(1);
    });
    child.on("close", resolve);
  });
  const wrong = ended === 0 ? judge(stdout) : [];
  const code = wrong.length === 0 ? ended : 1;
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  const word = code === 0 ? "ok     " : code === NOT_RUN ? "NOT RUN" : "FAILED ";
  console.log(`contracts: ${word} ${what} (${seconds} s)`);
  if (code === 0) for (const line of figures(program, stdout)) console.log(`contracts:         ${line.trim()}`);
  else console.log([stdout, stderr, ...wrong].join("\n").trim());
  return code;
}

const codes = await Promise.all(
  lanes.map(async (steps) => {
    const codes = [];
    for (const step of steps) codes.push(await run(step));
    return codes;
  }),
);
const failed = codes.flat().filter((code) => code !== 0 && code !== NOT_RUN).length;
const left = codes.flat().filter((code) => code === NOT_RUN).length;
const rest = left === 0 ? "" : `; ${left} NOT RUN`;
console.log(failed === 0 ? `contracts: all checks hold${rest}` : `contracts: ${failed} checks FAILED${rest}`);
process.exit(failed === 0 ? 0 : 1);
