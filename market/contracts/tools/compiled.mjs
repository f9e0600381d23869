#!/usr/bin/env node
// compiled.mjs FOLDER: whether the build in FOLDER is what the committed artifacts hold, byte for byte, and was made by
// the compiler that package.json names, for the chain that foundry.toml names. Two builds that both equal the artifacts
// equal each other.
import { readFileSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";

const root = join(import.meta.dirname, "..");
const folder = join(root, process.argv[2]);
const read = (...path) => readFileSync(join(...path), "utf8");
const version = JSON.parse(read(root, "package.json")).devDependencies.solc;
const settled = read(root, "foundry.toml");
const fork = /^evm_version = "(\w+)"$/m.exec(settled)[1];
const usual = Number(/^optimizer_runs = (\d+)$/m.exec(settled)[1]);
/** For how many runs a contract is optimised: as its line says, or as usual. */
const runsOf = (source) =>
  Number(new RegExp(`paths = "${source}",.* optimizer_runs = (\\d+)`).exec(settled)?.[1] ?? usual);

const problems = [];
const contracts = readdirSync(join(root, "artifacts"))
  .filter((file) => file.endsWith(".json"))
  .map((file) => basename(file, ".json"));
let compiler;
for (const name of contracts) {
  const built = JSON.parse(read(folder, `${name}.sol`, `${name}.json`));
  const { settings } = built.metadata;
  compiler = built.metadata.compiler.version;
  if (built.bytecode.object !== JSON.parse(read(root, "artifacts", `${name}.json`)).bytecode) {
    problems.push(`${name} is not, byte for byte, what artifacts/${name}.json holds`);
  }
  if (!compiler.startsWith(`${version}+`)) problems.push(`${name} was made by solc ${compiler}, not by ${version}`);
  if (settings.evmVersion !== fork) problems.push(`${name} was made for ${settings.evmVersion}, not for ${fork}`);
  const [source] = Object.keys(settings.compilationTarget);
  if (!settings.optimizer.enabled || settings.optimizer.runs !== runsOf(source)) {
    problems.push(`${name} was not optimised for ${runsOf(source)} runs`);
  }
  if (!new RegExp(`^pragma solidity ${version.replaceAll(".", "\\.")};$`, "m").test(read(root, source))) {
    problems.push(`${source} does not name solc ${version} as the one compiler of it`);
  }
}
for (const problem of problems) console.error(`compiled: ${problem}`);
if (problems.length !== 0) process.exit(1);
console.log(`${contracts.length} contracts by solc ${compiler} for ${fork}`);
