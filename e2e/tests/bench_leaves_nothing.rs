//! However a bench ends, nothing of it stays on the machine.

#![expect(
    clippy::unwrap_used,
    reason = "a test says by a panic that it failed, in the functions it shares too"
)]

use std::fs;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use e2e::bench::Bench;
use e2e::cache::Cache;
use e2e::tools::{Purpose, Tools};

/// What a bench could leave on the machine outside its folder and its cgroups.
#[derive(Debug, PartialEq)]
struct Machine {
    interfaces: Vec<String>,
    network_namespaces: String,
    rules: String,
    mounts: usize,
    kernel_settings: Vec<String>,
}

impl Machine {
    fn now() -> Self {
        let words = |program: &str, arguments: &[&str]| {
            String::from_utf8(Command::new(program).args(arguments).output().unwrap().stdout).unwrap()
        };
        let mut interfaces: Vec<String> = fs::read_dir("/sys/class/net")
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        interfaces.sort();
        let settings = ["vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "kernel/hostname"];
        Self {
            interfaces,
            network_namespaces: words("ip", &["netns", "list"]),
            rules: words("nft", &["list", "ruleset"]),
            mounts: fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count(),
            kernel_settings: settings
                .map(|name| fs::read_to_string(format!("/proc/sys/{name}")).unwrap())
                .into(),
        }
    }
}

fn e2e(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_e2e")).args(arguments).output().unwrap()
}

fn expect(arguments: &[&str]) -> String {
    let output = e2e(arguments);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?} failed: {words}");
    String::from_utf8(output.stdout).unwrap()
}

fn bench(name: &str) -> Bench {
    Bench::named(&Cache::open().unwrap(), name).unwrap()
}

fn holder(bench: &Bench) -> i32 {
    let text = fs::read_to_string(bench.folder().join("holder")).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(90), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
#[ignore = "starts benches: cargo e2e test bench_leaves_nothing"]
fn two_benches_do_not_meet_and_neither_down_nor_a_killed_one_leaves_a_trace() {
    Tools::installed(&Cache::open().unwrap(), Purpose::Bench).unwrap().expect("the parts are built");
    let before = Machine::now();
    let [one, other] = ["trace-one", "trace-other"];
    expect(&["up", "--name", one]);
    expect(&["up", "--name", other]);

    expect(&["shell", "--name", one, "--", "kubectl", "create", "namespace", "only-here"]);
    let names = ["kubectl", "get", "namespaces", "--output", "name"];
    assert!(expect(&[&["shell", "--name", one, "--"][..], &names].concat()).contains("only-here"));
    assert!(!expect(&[&["shell", "--name", other, "--"][..], &names].concat()).contains("only-here"));

    expect(&["down", "--name", one]);
    assert_eq!(bench(one).remains().unwrap(), Vec::<String>::new());
    assert!(expect(&[&["shell", "--name", other, "--"][..], &names].concat()).contains("default"));

    // A bench that was killed cannot clean up after itself: what it leaves is dead, and the next start removes it.
    let killed = bench(other);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(holder(&killed)), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    eventually("the processes of the killed bench to end", || {
        !killed.remains().unwrap().iter().any(|left| left.starts_with("process"))
    });
    expect(&["up", "--name", one]);
    assert_eq!(killed.remains().unwrap(), Vec::<String>::new());
    expect(&["down", "--name", one]);
    assert_eq!(bench(one).remains().unwrap(), Vec::<String>::new());
    assert_eq!(Machine::now(), before);
}

#[test]
#[ignore = "starts benches: cargo e2e test bench_leaves_nothing"]
fn a_start_that_is_interrupted_leaves_no_trace() {
    let before = Machine::now();
    let name = "trace-interrupted";
    let mut starting = Command::new(env!("CARGO_BIN_EXE_e2e"))
        .args(["up", "--name", name])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    eventually("the API server to be starting", || {
        bench(name).folder().join("logs/kube-apiserver.log").exists()
    });
    let process = nix::unistd::Pid::from_raw(i32::try_from(starting.id()).unwrap());
    nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGINT).unwrap();
    assert!(!starting.wait().unwrap().success());
    assert_eq!(bench(name).remains().unwrap(), Vec::<String>::new());
    assert_eq!(Machine::now(), before);
}

#[test]
#[ignore = "starts benches: cargo e2e test bench_leaves_nothing"]
fn a_demo_whose_program_is_killed_dies_with_it_and_the_next_start_removes_the_rest() {
    let before = Machine::now();
    let demo = bench("demo");
    let mut telling = Command::new(env!("CARGO_BIN_EXE_e2e"))
        .arg("demo")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    eventually("the demo's daemon to run", || demo.folder().join("stories/demo/provider.log").exists());
    telling.kill().unwrap();
    telling.wait().unwrap();
    eventually("the processes of the demo's bench to end", || {
        !demo.remains().unwrap().iter().any(|left| left.starts_with("process"))
    });
    let name = "trace-after";
    expect(&["up", "--name", name]);
    assert_eq!(demo.remains().unwrap(), Vec::<String>::new());
    expect(&["down", "--name", name]);
    assert_eq!(Machine::now(), before);
}

#[test]
#[ignore = "starts benches: cargo e2e test bench_leaves_nothing"]
fn a_bench_that_never_was_is_down_already() {
    assert!(expect(&["down", "--name", "trace-never"]).contains("no such bench"));
}
