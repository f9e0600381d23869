//! Documents that want to hurt: whatever the bytes are, reading them ends soon, in bounded memory, with an answer.
//!
//! Real documents are mutated, by bytes, by lines and words, and by whole subtrees. 20,000 cases run with the other tests;
//! `BERTH_FUZZ_SECONDS=600 cargo test -p manifests --test hostile` goes on for that long. Every case is made from its number, and a
//! failure names it: `BERTH_FUZZ_CASE=<number>` runs that one alone.

mod tell;

use std::alloc::System;
use std::env;
use std::fs;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cap::Cap;
use manifests::manifest::Manifest;
use manifests::problem::ErrorKind;
use manifests::{MAX_STEPS_PER_BYTE, Mode, Reading, Source, advise, read};

/// Counts what is allocated at once, at most so far and now.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// The most memory that reading may take at once.
const MAX_ALLOCATED: usize = 64 << 20;

const CASES: u64 = 20_000;

/// What is measured is measured alone.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the document in both modes and does all that a client does with the answer.
fn digest_of(text: &[u8], mode: Mode) -> Reading {
    let reading = read(text, mode);
    assert!(
        reading.steps <= text.len().saturating_mul(MAX_STEPS_PER_BYTE),
        "{} steps for {} bytes",
        reading.steps,
        text.len()
    );
    match &reading.outcome {
        Ok(deployment) => drop(deployment.manifest.digest()),
        Err(problems) => assert!(!problems.is_empty(), "refused without a reason"),
    }
    reading
}

/// The same, with the memory bounded.
fn bounded(what: &str, text: &[u8]) -> Reading {
    let before = ALLOCATOR.allocated();
    let reading = digest_of(text, Mode::Exact);
    // The highest point of all cases so far is below the bound, so that of this one is as well.
    let most = ALLOCATOR.max_allocated().saturating_sub(before);
    assert!(
        most <= MAX_ALLOCATED,
        "{what}: {most} bytes were allocated at once, at most {MAX_ALLOCATED} may be"
    );
    reading
}

/// A stream of numbers that is the same for the same seed.
struct Numbers(u64);

impl Numbers {
    fn of(seed: u64) -> Self {
        Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// A number below this one, which is not zero.
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).expect("below a usize")
    }

    fn pick<'a, T: ?Sized>(&mut self, things: &[&'a T]) -> &'a T {
        things[self.below(things.len())]
    }
}

/// Words that the language or its parser has an opinion about.
const WORDS: &[&str] = &[
    "version",
    "services",
    "profiles",
    "deployment",
    "endpoints",
    "reclamation",
    "x-berth",
    "<<",
    "*a",
    "&a",
    "*b",
    "&b ",
    "!!binary ",
    "!!str ",
    "!!int ",
    "!foo ",
    "~",
    "null",
    "true",
    "off",
    "'",
    "\"",
    "|",
    ">-",
    "[",
    "]",
    "{",
    "}",
    "{}",
    "[]",
    ",",
    ": ",
    "- ",
    "? ",
    "# ",
    "---",
    "...",
    "%YAML 1.1",
    "%TAG ! !",
    "\t",
    "\r",
    "\u{feff}",
    "\u{85}",
    "\u{2028}",
    "0",
    "-1",
    "1e400",
    "0x1p-1075",
    "4294967296",
    "18446744073709551616",
    "9999999999Ei",
    "nan",
    "inf",
    "1h",
    "uact",
    "probes",
    "secretRef",
    "strategy",
    "initContainers",
    "tmpSize",
    "award",
    "env",
    "credentials",
    "storage",
    "size: 1Gi",
    "units: 1",
    "count: 4294967295",
    "port: 80",
    "global: true",
    "nvidia",
    "persistent: true",
    "class: ram",
];

/// One document made of others.
fn mutated(corpus: &[Vec<u8>], numbers: &mut Numbers) -> Vec<u8> {
    let mut text = corpus[numbers.below(corpus.len())].clone();
    for _ in 0..=numbers.below(4) {
        match numbers.below(3) {
            0 => mutate_bytes(&mut text, numbers),
            1 => mutate_words(&mut text, numbers),
            _ => {
                let donor = &corpus[numbers.below(corpus.len())];
                mutate_subtrees(&mut text, donor, numbers);
            }
        }
    }
    text
}

fn mutate_bytes(text: &mut Vec<u8>, numbers: &mut Numbers) {
    for _ in 0..=numbers.below(8) {
        let at = numbers.below(text.len() + 1);
        let byte = numbers.next() as u8;
        match numbers.below(5) {
            0 => text.insert(at, byte),
            1 if at < text.len() => text[at] = byte,
            2 if at < text.len() => text[at] ^= 1 << numbers.below(8),
            3 if at < text.len() => drop(text.remove(at)),
            4 if numbers.below(8) == 0 => text.truncate(at),
            _ => {}
        }
    }
}

/// The words of a text: runs without blanks.
fn words(text: &[u8]) -> Vec<(usize, usize)> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, byte) in text.iter().chain(b" ").enumerate() {
        match (byte.is_ascii_whitespace(), start) {
            (false, None) => start = Some(at),
            (true, Some(from)) => {
                words.push((from, at));
                start = None;
            }
            _ => {}
        }
    }
    words
}

fn mutate_words(text: &mut Vec<u8>, numbers: &mut Numbers) {
    for _ in 0..=numbers.below(3) {
        let words = words(text);
        if words.is_empty() {
            return;
        }
        let (from, to) = words[numbers.below(words.len())];
        let (other_from, other_to) = words[numbers.below(words.len())];
        let new: Vec<u8> = match numbers.below(4) {
            0 => Vec::new(),
            1 => text[other_from..other_to].to_vec(),
            2 => [numbers.pick(WORDS).as_bytes(), &text[from..to]].concat(),
            _ => numbers.pick(WORDS).as_bytes().to_vec(),
        };
        text.splice(from..to, new);
    }
}

/// The subtrees of a text in block style: a line and all deeper ones that follow it.
fn subtrees(text: &[u8]) -> Vec<(usize, usize, usize)> {
    let mut lines = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let indent = line.iter().take_while(|byte| **byte == b' ').count();
        lines.push((start, indent, line.trim_ascii().is_empty()));
        start += line.len();
    }
    let end_of = |index: usize| {
        let (_, indent, _) = lines[index];
        let next = lines[index + 1..].iter().find(|(_, other, blank)| !blank && *other <= indent);
        next.map_or(text.len(), |(start, _, _)| *start)
    };
    (0..lines.len())
        .filter(|index| !lines[*index].2)
        .map(|index| (lines[index].0, end_of(index), lines[index].1))
        .collect()
}

/// A subtree goes, comes twice, or comes from elsewhere, as deep as the one whose place it takes.
fn mutate_subtrees(text: &mut Vec<u8>, donor: &[u8], numbers: &mut Numbers) {
    let ours = subtrees(text);
    let theirs = subtrees(donor);
    if ours.is_empty() || theirs.is_empty() {
        return;
    }
    let (from, to, indent) = ours[numbers.below(ours.len())];
    let (other_from, other_to, other_indent) = theirs[numbers.below(theirs.len())];
    let moved = |bytes: &[u8], by: usize, to: usize| -> Vec<u8> {
        let line = |line: &[u8]| [&vec![b' '; to][..], line.get(by..).unwrap_or_default()].concat();
        bytes.split_inclusive(|byte| *byte == b'\n').flat_map(line).collect()
    };
    match numbers.below(4) {
        0 => drop(text.drain(from..to)),
        1 => {
            let copy = text[from..to].to_vec();
            text.splice(to..to, copy);
        }
        2 => drop(text.splice(from..to, moved(&donor[other_from..other_to], other_indent, indent))),
        _ => drop(text.splice(to..to, moved(&donor[other_from..other_to], other_indent, indent))),
    }
}

/// Real documents where they are, otherwise a few of our own.
fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures/awesome");
    let mut paths: Vec<_> = match fs::read_dir(&folder) {
        Ok(entries) => entries.map(|entry| entry.expect("the entry can be read").path()).collect(),
        Err(_) => {
            tell::left_out(format_args!(
                "{} is not there, so only our own document is mutated",
                folder.display()
            ));
            Vec::new()
        }
    };
    paths.retain(|path| path.extension().is_some_and(|e| e == "yaml" || e == "yml"));
    paths.sort();
    let mut corpus: Vec<_> = paths.iter().map(|path| fs::read(path).expect("the file can be read")).collect();
    corpus.push(FULL.as_bytes().to_vec());
    corpus
}

#[test]
fn mutated_documents_are_read_without_harm() {
    let _alone = alone();
    let corpus = corpus();
    let seconds = env::var("BERTH_FUZZ_SECONDS").ok().map(|text| text.parse().expect("a number of seconds"));
    let only =
        env::var("BERTH_FUZZ_CASE").ok().map(|text| text.parse::<u64>().expect("the number of a case"));
    let start = Instant::now();
    let (mut cases, mut accepted, mut slowest) = (0, 0, (Duration::ZERO, 0));
    for number in only.map_or(0..u64::MAX, |case| case..case + 1) {
        let enough = match seconds {
            Some(seconds) => start.elapsed() >= Duration::from_secs(seconds),
            None => cases == CASES,
        };
        if enough {
            break;
        }
        let text = mutated(&corpus, &mut Numbers::of(number));
        let begun = Instant::now();
        let reading = catch_unwind(|| bounded("a mutation", &text)).unwrap_or_else(|_| {
            panic!("BERTH_FUZZ_CASE={number} fails, text:\n{}", String::from_utf8_lossy(&text))
        });
        slowest = slowest.max((begun.elapsed(), number));
        match reading.outcome {
            Ok(deployment) => {
                accepted += 1;
                // What was accepted travels, and means the same in lenient reading.
                let arrived = Manifest::from_json(&deployment.manifest.to_json());
                assert_eq!(arrived.as_ref(), Ok(&deployment.manifest), "case {number}");
            }
            Err(problems) => {
                let source = Source::new(&text);
                drop(problems.iter().map(|problem| source.excerpt(problem)).collect::<Vec<_>>());
            }
        }
        drop(digest_of(&text, Mode::Lenient));
        drop(advise(&text));
        cases += 1;
    }
    tell::counted(format_args!(
        "mutated documents: {cases} read, {accepted} accepted; slowest {:?} (case {}); at most {} KiB allocated at once",
        slowest.0,
        slowest.1,
        ALLOCATOR.max_allocated() >> 10
    ));
    assert!(only.is_some() || seconds.is_some() || (cases == CASES && accepted > CASES / 100));
}

/// Repeats a piece until the text has this length.
fn filled(head: &str, mut piece: impl FnMut(usize) -> String, tail: &str, length: usize) -> String {
    let mut text = head.to_owned();
    for number in 0.. {
        let next = piece(number);
        if text.len() + next.len() + tail.len() > length {
            break;
        }
        text += &next;
    }
    text + tail
}

const MIB: usize = 1 << 20;

const SERVICES: &str = "version: '2.0'\nservices:\n";

fn long() -> String {
    "x".repeat(MIB / 2)
}

/// Services that repeat what stands at the first one.
fn aliases(head: &str) -> String {
    filled(&format!("{SERVICES}{head}"), |n| format!("  s{n}: *a\n"), "", MIB)
}

fn merges() -> String {
    let piece = |step: usize| format!("  m{}: &m{} {{<<: [*m{step}, *m{step}]}}\n", step + 1, step + 1);
    filled(&format!("{SERVICES}  m0: &m0 {{image: x}}\n"), piece, "", MIB)
}

fn lists() -> String {
    let piece = |step: usize| format!("  s{step}: {{args: &l{} [*l{step}, *l{step}]}}\n", step + 1);
    filled("version: '2.0'\ninclude: &l0 [x]\nservices:\n", piece, "", MIB)
}

/// Its name, and how its text is made: one at a time, so that only one takes memory.
type Attack = (&'static str, fn() -> String);

/// What anybody could think of to make a reader work hard, each up to a mebibyte.
fn attacks() -> Vec<Attack> {
    vec![
        ("brackets", || "[".repeat(MIB)),
        ("braces", || "{".repeat(MIB)),
        ("braces with keys", || "{a: ".repeat(MIB / 4)),
        ("dashes", || "- ".repeat(MIB / 2)),
        ("question marks", || "? ".repeat(MIB / 2)),
        ("deeper and deeper", || (0..1400).map(|n| format!("{}a:\n", " ".repeat(n))).collect()),
        ("one plain scalar", || "a".repeat(MIB)),
        ("one quoted scalar", || format!("\"{}\"", "\\n".repeat(MIB / 2 - 1))),
        ("a quote that does not end", || format!("\"{}", "a ".repeat(MIB / 2))),
        ("line ends", || "\n".repeat(MIB)),
        ("carriage returns", || "\r".repeat(MIB)),
        ("comments", || "#\n".repeat(MIB / 2)),
        ("tabs", || "\t".repeat(MIB)),
        ("zeros", || "\0".repeat(MIB)),
        ("documents", || "--- \n".repeat(MIB / 5)),
        ("tag directives", || filled("", |n| format!("%TAG !{n}! !a{n}\n"), "--- a\n", MIB)),
        ("anchors", || filled("", |n| format!("- &a{n} x\n"), "", MIB)),
        ("aliases of one text", || {
            filled("version: '2.0'\ninclude:\n  - &a x\n", |_| "  - *a\n".to_owned(), "", MIB)
        }),
        ("scalars in one list", || format!("version: '2.0'\ninclude: [{}]", "a,".repeat(MIB / 2 - 20))),
        ("empty keys", || filled("version: '2.0'\nservices: {", |n| format!("{n}: ,"), "}", MIB)),
        ("unknown keys", || filled("version: '2.0'\nservices: {a: {", |n| format!("{n}: ,"), "}}", MIB)),
        ("the same key", || format!("version: '2.0'\nservices: {{{}}}", "a: 1,".repeat(MIB / 5 - 10))),
        ("root keys", || filled("version: '2.0'\n", |n| format!("{n}:\n"), "", MIB)),
        ("empty exposes", || format!("{SERVICES}  a: {{expose: [{}]}}", "{},".repeat(MIB / 3 - 20))),
        ("empty entries under to", || {
            format!("{SERVICES}  a: {{expose: [{{to: [{}]}}]}}", "{},".repeat(MIB / 3 - 30))
        }),
        ("wrong exposes", || format!("{SERVICES}  a: {{expose: [{}]}}", "a,".repeat(MIB / 2 - 30))),
        ("volumes", || {
            format!(
                "version: '2.0'\nprofiles: {{compute: {{a: {{resources: {{storage: [{}]}}}}}}}}",
                "{},".repeat(MIB / 3 - 40)
            )
        }),
        ("GPU models of a long name", || {
            let head = "version: '2.0'\nprofiles: {compute: {a: {resources: {gpu: {attributes: {vendor: {nvidia: [&m {model: ";
            filled(&format!("{head}{}}}", long()), |_| ",*m".to_owned(), "]}}}}}}}", MIB)
        }),
        ("services by alias", || aliases(&format!("  a: &a {{expose: [{}]}}\n", "{port: 1},".repeat(1000)))),
        ("long texts by alias", || {
            aliases(&format!("  a: &a {{image: &i {}, command: [*i, *i]}}\n", long()))
        }),
        ("init containers by alias", || {
            aliases(&format!("  a: &a {{x-berth: {{initContainers: [{{name: a, image: {}}}]}}}}\n", long()))
        }),
        ("secrets by alias", || {
            let secrets: String = (0..2000).map(|n| format!("A{n}: a,")).collect();
            aliases(&format!("  a: &a {{x-berth: {{secretRef: {{{secrets}}}}}}}\n"))
        }),
        ("mappings that merge one another", merges),
        ("lists in lists", lists),
        ("keys as long as the document", || format!("? {0}\n: {0}\n", &long()[..MIB / 2 - 10])),
        ("merged into many", || {
            let keys: String = (0..500).map(|n| format!("k{n}: 1,")).collect();
            let head = format!("{SERVICES}  a: &a {{{keys}}}\n");
            filled(&head, |n| format!("  b{n}: {{<<: *a}}\n"), "", MIB)
        }),
        ("problems with long paths", || {
            let key = "k".repeat(300);
            filled("version: '2.0'\nservices: {", |n| format!("{key}{n}: 1,"), "}", MIB)
        }),
    ]
}

#[test]
fn attacks_of_a_mebibyte_end_soon_and_in_little_memory() {
    let _alone = alone();
    let patience = if cfg!(debug_assertions) { Duration::from_secs(60) } else { Duration::from_secs(1) };
    let (mut told, mut slowest, mut most_steps) = (0, (Duration::ZERO, ""), (0, ""));
    for (name, attack) in attacks() {
        let text = attack();
        assert!(text.len() <= MIB + 100, "{name} has {} bytes", text.len());
        let begun = Instant::now();
        let reading = bounded(name, text.as_bytes());
        let took = begun.elapsed();
        // Shown where the test fails, or on request.
        println!(
            "{name}: {} bytes, {} steps, {took:?}, {} KiB; {}",
            text.len(),
            reading.steps,
            ALLOCATOR.max_allocated() >> 10,
            reading.outcome.as_ref().map_or_else(|problems| problems[0].kind.as_str(), |_| "accepted")
        );
        assert!(took < patience, "{name} took {took:?}");
        told += 1;
        slowest = slowest.max((took, name));
        most_steps = most_steps.max((reading.steps, name));
    }
    tell::counted(format_args!(
        "attacks of a mebibyte: {told}; slowest {:?} ({}); most steps {} ({}); at most {} KiB allocated at once",
        slowest.0,
        slowest.1,
        most_steps.0,
        most_steps.1,
        ALLOCATOR.max_allocated() >> 10
    ));
}

#[test]
fn what_is_no_document_is_an_ordinary_error() {
    let _alone = alone();
    let garbage: Vec<u8> = (0..100_000)
        .map({
            let mut numbers = Numbers::of(1);
            move |_| numbers.next() as u8
        })
        .collect();
    let elf = [&b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0"[..], &garbage[..1000]].concat();
    let latin: Vec<u8> = b"version: '2.0'\nservices: {caf\xe9: {}}\n".to_vec();
    let utf32: Vec<u8> = "version: '2.0'".chars().flat_map(|c| u32::from(c).to_le_bytes()).collect();
    let half: Vec<u8> = [0xff, 0xfe]
        .into_iter()
        .chain("version: '2.0'".encode_utf16().flat_map(u16::to_le_bytes))
        .chain([1])
        .collect();
    let surrogates = vec![0xff, 0xfe, 0x00, 0xd8, 0x61, 0x00];
    let cut = "é".as_bytes()[..1].to_vec();
    for (name, bytes) in [
        ("garbage", garbage),
        ("a program", elf),
        ("Latin-1", latin),
        ("UTF-32", utf32),
        ("half a unit of UTF-16", half),
        ("a lone surrogate", surrogates),
        ("half a character", cut),
        ("a gzip", b"\x1f\x8b\x08\0\0\0\0\0".to_vec()),
    ] {
        let problems = bounded(name, &bytes).outcome.expect_err(name);
        assert_eq!(problems[0].kind, ErrorKind::YamlSyntax, "{name}: {}", problems[0]);
        assert!(!problems[0].remedy().is_empty(), "{name}: {}", problems[0]);
    }
}

/// A document of everything, with one amount left open.
const FULL: &str = r#"version: "2.1"
endpoints: {front: {kind: ip}}
services:
  web:
    image: ghcr.io/example/web:1.2
    command: [serve]
    env: ["MODE=prod", &shared "A=b"]
    expose:
      - port: 8080
        as: 80
        accept: [web.example.com]
        http_options: {max_body_size: 1048576, next_cases: ["500", error]}
        to: [{global: true}]
      - &udp
        port: 9000
        proto: udp
        to: [{global: true, ip: front}, {service: store}]
    params:
      storage: {data: {mount: /var/data, readOnly: false}}
      permissions: {read: [logs]}
    credentials: {host: ghcr.io, username: someone, password: word}
    x-berth:
      probes: {readiness: {httpGet: {path: /, port: 8080}}}
      secretRef: {KEY: key}
      initContainers: [{name: first, image: busybox, command: [sh]}]
      tmpSize: 16Mi
  store:
    image: postgres:16
    expose: [{port: 5432, to: [{service: web}]}]
profiles:
  compute:
    big:
      resources:
        cpu: {units: 1.5, attributes: {arch: amd64}}
        memory: {size: 2Gi}
        gpu: {units: 1, attributes: {vendor: {nvidia: [{model: h100, ram: 80Gi, interface: sxm}]}}}
        storage:
          - size: 1Gi
          - {name: data, size: 10Gi, attributes: {class: beta2, persistent: true}}
    small:
      resources: {cpu: {units: 250m}, memory: {size: 256Mi}, storage: {size: 512Mi}}
  placement:
    west:
      attributes: {region: us-west}
      signedBy: {anyOf: [auditor]}
      x-berth: {award: lowest, deadline: 10m, regions: [us-west]}
      pricing: {big: {denom: uact, amount: 1000.5}, small: {denom: uact, amount: 10}}
deployment:
  web: {west: {profile: big, count: 2}}
  store: {west: {profile: small, count: 1}}
reclamation: {min_window: 24h}
"#;

#[test]
fn amounts_that_overflow_are_ordinary_errors() {
    let _alone = alone();
    let huge = "9".repeat(5000);
    for (find, kinds) in [
        ("units: 1.5", &[ErrorKind::CpuOutOfRange, ErrorKind::QuantityMalformed][..]),
        ("size: 2Gi", &[ErrorKind::MemoryOutOfRange, ErrorKind::QuantityMalformed]),
        ("size: 10Gi", &[ErrorKind::StorageOutOfRange, ErrorKind::QuantityMalformed]),
        ("units: 1,", &[ErrorKind::GpuOutOfRange, ErrorKind::QuantityMalformed]),
        ("amount: 10}", &[ErrorKind::PriceOverLimit, ErrorKind::PriceMalformed]),
        ("count: 2}", &[ErrorKind::TotalCpuOutOfRange, ErrorKind::YamlType]),
        ("port: 8080\n", &[ErrorKind::PortOutOfRange, ErrorKind::YamlType]),
        ("max_body_size: 1048576", &[ErrorKind::HttpOptionOverLimit, ErrorKind::YamlType]),
        ("min_window: 24h", &[ErrorKind::ReclamationMalformed]),
        ("ram: 80Gi", &[ErrorKind::QuantityMalformed, ErrorKind::GpuAttributeKeyInvalid]),
        ("tmpSize: 16Mi", &[ErrorKind::ExtensionInvalid, ErrorKind::QuantityMalformed]),
    ] {
        let (key, value) = find.split_once(' ').expect("a key and a value");
        let end = value.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.');
        for amount in [
            "4294967295",
            "4294967296",
            "18446744073709551615",
            "18446744073709551616",
            "340282366920938463463374607431768211456",
            "1e308",
            "1e400",
            "9999999999999999999Ei",
            "0x1p2000",
            "9223372036854775808h",
            &huge,
        ] {
            let text = FULL.replacen(find, &format!("{key} {amount}{end}"), 1);
            assert_ne!(text, FULL, "{find}");
            match bounded(find, text.as_bytes()).outcome {
                // Four gibibytes are an ordinary size, and memory of a GPU is a wish like its model.
                Ok(_) => assert!(
                    find.starts_with("ram") || find.starts_with("size") && amount.len() == 10,
                    "{key} {amount} was accepted"
                ),
                Err(problems) => {
                    assert!(kinds.contains(&problems[0].kind), "{key} {amount}: {}", problems[0]);
                }
            }
        }
    }
}

#[test]
fn huge_counts_are_ordinary_errors() {
    let _alone = alone();
    // Each replica is within bounds; all together are not, and their sum does not fit 64 bits.
    let text = FULL
        .replace("count: 2", "count: 4294967295")
        .replace("2Gi", "2Ti")
        .replace("units: 1.5", "units: 384");
    let kinds: Vec<_> = bounded("counts", text.as_bytes())
        .outcome
        .expect_err("too many")
        .iter()
        .map(|problem| problem.kind)
        .collect();
    assert_eq!(
        kinds,
        [ErrorKind::TotalCpuOutOfRange, ErrorKind::TotalGpuOutOfRange, ErrorKind::TotalMemoryOutOfRange]
    );
}
