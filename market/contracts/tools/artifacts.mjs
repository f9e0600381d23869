#!/usr/bin/env node
// Writes what the Rust side builds on, artifacts/<Contract>.json = {abi, bytecode, runtime}, from what forge built; with
// --check it writes nothing and fails unless the committed files are exactly what the source gives.
//
// The files are stable: object keys sorted, two-space indent, and the compiler is told to leave no metadata, so they
// change only where the contracts do.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");
const contracts = ["AuditorRegistry", "Market", "MarketLens", "Params", "ProviderRegistry", "TestToken", "Timelock"];

/** The same value with the keys of every object in order. Arrays keep theirs: it is the order of arguments. */
function sorted(value) {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(
    Object.keys(value)
      .sort()
      .map((key) => [key, sorted(value[key])]),
  );
}

/** The text of one artifact, from forge's output. */
function artifact(name) {
  const built = JSON.parse(readFileSync(join(root, "out", `${name}.sol`, `${name}.json`), "utf8"));
  if (Object.keys(built.bytecode.linkReferences).length !== 0) {
    throw new Error(`${name} wants a library linked in; keep library functions internal`);
  }
  // The code as it lies on chain, but for what the constructor writes into it: where that is, as [start, length].
  const immutables = Object.values(built.deployedBytecode.immutableReferences ?? {})
    .flat()
    .map(({ start, length }) => [start, length])
    .sort(([a], [b]) => a - b);
  const runtime = { code: built.deployedBytecode.object, immutables };
  return JSON.stringify(sorted({ abi: built.abi, bytecode: built.bytecode.object, runtime }), null, 2) + "\n";
}

const check = process.argv.includes("--check");
const folder = join(root, "artifacts");
execFileSync(join(root, "node_modules/.bin/forge"), ["build", "--silent", "--skip", "test"], {
  cwd: root,
  stdio: ["ignore", "inherit", "inherit"],
});

if (!check) {
  mkdirSync(folder, { recursive: true });
  for (const name of contracts) writeFileSync(join(folder, `${name}.json`), artifact(name));
  console.log(`artifacts: wrote ${contracts.join(", ")}`);
} else {
  const wrong = contracts.filter((name) => {
    const file = join(folder, `${name}.json`);
    return !existsSync(file) || readFileSync(file, "utf8") !== artifact(name);
  });
  const stray = readdirSync(folder).filter(
    (file) => file.endsWith(".json") && !contracts.includes(file.replace(/\.json$/, "")),
  );
  if (wrong.length + stray.length !== 0) {
    if (wrong.length) console.error(`artifacts: not what the source gives: ${wrong.join(", ")}`);
    if (stray.length) console.error(`artifacts: belong to no contract: ${stray.join(", ")}`);
    console.error("artifacts: run `npm run artifacts` in market/contracts and commit the result");
    process.exit(1);
  }
  console.log(`artifacts: ${contracts.length} match the source`);
}
