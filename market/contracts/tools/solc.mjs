#!/usr/bin/env node
// The Solidity compiler as forge wants to call it: the WebAssembly build of solc from npm behind the
// two calls forge makes, `--version` and `--standard-json` (with `--allow-paths` and `--base-path`,
// which mean nothing here because every source arrives in the JSON).
import { readFileSync, writeSync } from "node:fs";
import solc from "solc";

/** Write everything before the process ends; a pipe takes a large answer in several bites. */
function print(text) {
  const bytes = Buffer.from(text);
  for (let sent = 0; sent < bytes.length; ) {
    try {
      sent += writeSync(1, bytes, sent);
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;
    }
  }
}

const args = process.argv.slice(2);
if (args.includes("--version")) {
  print(`solc, the solidity compiler commandline interface\nVersion: ${solc.version()}\n`);
} else if (args.includes("--standard-json")) {
  print(solc.compile(readFileSync(0, "utf8")));
} else {
  console.error(`solc.mjs: expected --version or --standard-json, got: ${args.join(" ")}`);
  process.exit(2);
}
