#!/usr/bin/env node
// Writes the table of gas in README.md from snapshots/gas.json (what each call costs, as the tests measured it) and
// test/Gas.t.sol (the most it may cost); with --check it writes nothing and fails unless the table says the same.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");
const read = (file) => readFileSync(join(root, file), "utf8");

/** What others cost, in thousands of gas: Sablier Flow 3.0.1 and Filecoin Pay V1, whole transactions on the same compiler. */
const PEERS = {
  deposit: ["61.7", "59.4–118"],
  "accept bid": ["162.7–214 (create and deposit)", "496.8–530.8 (create, lockup, set rate)"],
  withdraw: ["73.4–93.8", "104–250 (settle, withdraw)"],
  "close by tenant": ["45.7 (void)", "72.8"],
  "refund beside a lease": ["59.9", "–"],
  "register provider": ["–", "117 (operator approval)"],
};

/** A sum of products as Solidity writes it: `95_000 + 1152 * 25`. */
function workedOut(sum) {
  const products = sum.replaceAll("_", "").split("+");
  return products
    .map((product) => product.split("*").reduce((all, factor) => all * Number(factor), 1))
    .reduce((all, product) => all + product, 0);
}

/** The most that each figure may be, by its name: `costs("deposit", 70_000)`, or a snapshot with its own limit below it. */
function targets() {
  const source = read("test/Gas.t.sol");
  const calls = source.matchAll(/costs\(\s*"([^"]+)",\s*([\d_+* ]+)\)/g);
  const others = source.matchAll(
    /snapshotValue\("gas", "([^"]+)", (\w+)\);(?:\s*\/\/[^\n]*)?\s*vm\.assertLe\(\2, ([\d_+* ]+),/g,
  );
  return new Map([
    ...Array.from(calls, ([, name, most]) => [name, workedOut(most)]),
    ...Array.from(others, ([, name, , most]) => [name, workedOut(most)]),
  ]);
}

const number = (value) => Number(value).toLocaleString("en-US");
const most = targets();
const rows = Object.entries(JSON.parse(read("snapshots/gas.json"))).map(([name, gas]) => {
  if (!most.has(name)) throw new Error(`snapshots/gas.json has "${name}", for which test/Gas.t.sol has no target`);
  const [sablier, filecoin] = PEERS[name] ?? ["", ""];
  return `| ${name} | ${number(gas)} | ${number(most.get(name))} | ${sablier} | ${filecoin} |`;
});
const table = [
  "| call | gas | at most | Sablier Flow 3.0.1, k | Filecoin Pay V1, k |",
  "|---|--:|--:|---|---|",
  ...rows,
].join("\n");

const [begin, end] = ["<!-- gas: written by `npm run gas` -->", "<!-- end of gas -->"];
const readme = read("README.md");
const [head, rest] = readme.split(begin);
const tail = rest?.split(end)[1];
if (tail === undefined) throw new Error(`README.md has no place for the table: ${begin} … ${end}`);
const wanted = `${head}${begin}\n${table}\n${end}${tail}`;
if (!process.argv.includes("--check")) {
  writeFileSync(join(root, "README.md"), wanted);
  console.log(`gas: ${rows.length} rows in README.md`);
} else if (readme !== wanted) {
  console.error("gas: the table in README.md is not what was measured; run `npm run gas` and commit the result");
  process.exit(1);
} else {
  console.log(`gas: ${rows.length} rows of README.md are what was measured`);
}
