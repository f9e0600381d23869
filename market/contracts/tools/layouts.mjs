#!/usr/bin/env node
// layouts.mjs [--check] FOLDER: writes where each contract keeps what, storage/<Contract>.txt, from the build in FOLDER;
// with --check it writes nothing and fails unless the committed files say the same. A line is `slot offset type name`;
// members of structs are indented. What is left out are numbers that the compiler gives out anew in every build.
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";

const root = join(import.meta.dirname, "..");
const check = process.argv.includes("--check");
const built = join(root, process.argv.at(-1));
const folder = join(root, "storage");

/** The lines of some variables and, indented, of the structs that they hold or lead to; each struct once. */
function lines(variables, types, told, indent) {
  return variables.flatMap(({ slot, offset, type, label }) => {
    const line = `${indent}${slot.padStart(2)} ${String(offset).padStart(2)} ${types[type].label} ${label}`;
    let end = type;
    while (types[end].value) end = types[end].value;
    const { members } = types[end];
    if (!members || told.has(end)) return [line];
    told.add(end);
    return [line, ...lines(members, types, told, `${indent}   `)];
  });
}

function layout(name) {
  const { storageLayout } = JSON.parse(readFileSync(join(built, `${name}.sol`, `${name}.json`), "utf8"));
  const told = lines(storageLayout.storage, storageLayout.types ?? {}, new Set(), "");
  return `${["slot offset type name", ...told].join("\n")}\n`;
}

const contracts = readdirSync(join(root, "artifacts"))
  .filter((file) => file.endsWith(".json"))
  .map((file) => basename(file, ".json"));
if (!check) {
  mkdirSync(folder, { recursive: true });
  for (const name of contracts) writeFileSync(join(folder, `${name}.txt`), layout(name));
  console.log(`layouts: wrote ${contracts.join(", ")}`);
} else {
  const wrong = contracts.filter((name) => {
    const file = join(folder, `${name}.txt`);
    return !existsSync(file) || readFileSync(file, "utf8") !== layout(name);
  });
  const stray = readdirSync(folder).filter((file) => !contracts.includes(basename(file, ".txt")));
  for (const name of wrong) console.error(`layouts: storage/${name}.txt should say:\n${layout(name)}`);
  if (stray.length) console.error(`layouts: belong to no contract: ${stray.join(", ")}`);
  if (wrong.length + stray.length !== 0) {
    console.error("layouts: run `npm run layouts` in market/contracts, read the difference, and commit it");
    process.exit(1);
  }
  console.log(`${contracts.length} layouts are as before`);
}
