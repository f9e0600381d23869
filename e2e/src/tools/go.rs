//! Parts that are built from Go modules.
//!
//! Each has a wrapper module under `e2e/tools/<part>`, whose `go.sum` fixes what is built and whose `tools.go` names
//! the programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use super::part::{Part, Recipe};
use super::stream;
use crate::progress::Progress;

/// The name of the module whose sources lie in the wrapper's own folder.
pub(super) const OWN: &str = "";

const GO_NEEDED: (u32, u32) = (1, 26);

/// A wrapper module and the module whose version names the part.
pub(super) struct Module {
    folder: PathBuf,
    main: &'static str,
}

/// The part that the wrapper module `e2e/tools/<name>` builds; its version is the one of `main` in `go.mod`.
pub(super) fn part(
    name: &'static str,
    main: &'static str,
    checks: &'static [(&'static str, &'static [&'static str])],
) -> Result<Part> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools").join(name);
    let version = if main == OWN { "own".to_owned() } else { required_version(&folder, main)? };
    Ok(Part { name, version, recipe: Recipe::Go(Module { folder, main }), checks })
}

impl Module {
    /// Feeds everything that decides what is built of `part` into `hash`.
    pub(super) fn ingredients(&self, part: &Part, hash: &mut Sha256) -> std::io::Result<()> {
        let Settings { cgo, tags, link, manifests } = settings(part);
        hash.update(format!("{cgo} {tags} {link}"));
        for (file, name) in manifests {
            hash.update(format!("{file} {name}"));
        }
        let mut files: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            files.push(entry?.path());
        }
        files.sort();
        for file in files.iter().filter(|file| file.is_file()) {
            hash.update(fs::read(file)?);
        }
        Ok(())
    }
}

/// Builds the programs of a part into `into/bin`, and copies the manifests it brings along into `into/manifests`.
pub(super) fn build(part: &Part, module: &Module, into: &Path, progress: &Progress) -> Result<()> {
    ensure_go()?;
    let packages = packages(module)?;
    let settings = settings(part);
    let go = |verb: &[&str]| {
        let mut go = Command::new("go");
        go.current_dir(&module.folder)
            .args(verb)
            .env("CGO_ENABLED", if settings.cgo { "1" } else { "0" })
            .env("GOFLAGS", "-mod=readonly")
            .env("GOTOOLCHAIN", "local")
            .env("GOWORK", "off");
        go
    };

    progress.note("fetching modules");
    let mut units = 0;
    let mut list = go(&["list", "-deps", "-tags", settings.tags]);
    stream::run("list what is to be compiled", list.args(&packages), |line| {
        // Packages come one a line without a space; what the client says while it downloads has spaces.
        if line.contains(' ') { progress.note(line) } else { units += 1 }
    })?;
    progress.expect_units(units);

    let mut build = go(&["build", "-v", "-trimpath", "-tags", settings.tags, "-ldflags", &settings.link]);
    build.arg("-o").arg(into.join("bin")).args(&packages);
    stream::run("compile it", build.env("GOGC", "200"), |line| {
        progress.unit();
        progress.note(line);
    })?;

    for (file, name) in settings.manifests {
        copy_from_module(module, file, &into.join("manifests").join(name), go)?;
    }
    Ok(())
}

struct Settings {
    cgo: bool,
    tags: &'static str,
    link: String,
    /// Files of the main module to keep beside the programs, and under which name.
    manifests: &'static [(&'static str, &'static str)],
}

fn settings(part: &Part) -> Settings {
    let version = &part.version;
    let mut settings = Settings { cgo: false, tags: "", link: "-s -w".to_owned(), manifests: &[] };
    let mut name = |variable: &str, value: &str| settings.link.push_str(&format!(" -X {variable}={value}"));
    match part.name {
        "kubernetes" => {
            let mut numbers = version.trim_start_matches('v').split('.');
            let base = "k8s.io/component-base/version";
            name(&format!("{base}.gitVersion"), version);
            name(&format!("{base}.gitMajor"), numbers.next().unwrap_or_default());
            name(&format!("{base}.gitMinor"), numbers.next().unwrap_or_default());
            name(&format!("{base}.gitTreeState"), "clean");
        }
        "containerd" => {
            name("github.com/containerd/containerd/v2/version.Version", version);
            settings.tags = "no_btrfs no_devmapper no_zfs";
        }
        "runc" => {
            // The seccomp filter is a C library; without it no container that asks for one starts.
            settings.cgo = true;
            settings.tags = "seccomp";
        }
        "kwok" => {
            settings.manifests = &[
                ("kustomize/stage/node/fast/node-initialize.yaml", "node-initialize.yaml"),
                ("kustomize/stage/pod/fast/pod-ready.yaml", "pod-ready.yaml"),
                ("kustomize/stage/pod/fast/pod-complete.yaml", "pod-complete.yaml"),
                ("kustomize/stage/pod/fast/pod-delete.yaml", "pod-delete.yaml"),
            ];
        }
        "contour" => {
            settings.manifests = &[
                ("examples/contour/01-crds.yaml", "contour-crds.yaml"),
                ("examples/gateway/00-crds.yaml", "gateway-crds.yaml"),
            ];
        }
        _ => {}
    }
    settings
}

fn required_version(folder: &Path, main: &str) -> Result<String> {
    let path = folder.join("go.mod");
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    let version = text.lines().find_map(|line| {
        let mut words = line.trim().trim_start_matches("require ").split_whitespace();
        (words.next() == Some(main)).then(|| words.next().map(str::to_owned))?
    });
    version.with_context(|| format!("{} requires no version of {main}", path.display()))
}

/// The main packages that `tools.go` names, or the folder itself when its sources are our own.
fn packages(module: &Module) -> Result<Vec<String>> {
    if module.main == OWN {
        return Ok(vec![".".to_owned()]);
    }
    let path = module.folder.join("tools.go");
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    let named = text.lines().filter_map(|line| line.trim().strip_prefix("_ \"")?.strip_suffix('"'));
    let packages: Vec<String> = named.map(str::to_owned).collect();
    ensure!(!packages.is_empty(), "{} names no package", path.display());
    Ok(packages)
}

fn copy_from_module(module: &Module, file: &str, to: &Path, go: impl Fn(&[&str]) -> Command) -> Result<()> {
    let output = go(&["list", "-m", "-f", "{{.Dir}}", module.main]).output().context("failed to start go")?;
    ensure!(output.status.success(), "go does not say where the sources of {} lie", module.main);
    let from = Path::new(String::from_utf8_lossy(&output.stdout).trim()).join(file);
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(|| format!("failed to make {}", folder.display()))?;
    }
    let text = fs::read(&from).with_context(|| format!("failed to read {}", from.display()))?;
    fs::write(to, text).with_context(|| format!("failed to write {}", to.display()))
}

fn ensure_go() -> Result<()> {
    let remedy = format!("install Go {}.{} or newer and put it on the PATH", GO_NEEDED.0, GO_NEEDED.1);
    let output = match Command::new("go").arg("version").env("GOTOOLCHAIN", "local").output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("there is no Go, which builds most parts of the bench: {remedy}")
        }
        Err(error) => return Err(error).context("failed to start go"),
    };
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = words.split_whitespace().find_map(|word| word.strip_prefix("go1.").map(|_| &word[2..]));
    let numbers = version.and_then(|version| {
        let mut numbers =
            version.split('.').map(|n| n.chars().take_while(char::is_ascii_digit).collect::<String>());
        Some((numbers.next()?.parse::<u32>().ok()?, numbers.next()?.parse::<u32>().ok()?))
    });
    match numbers {
        Some(found) if found >= GO_NEEDED => Ok(()),
        _ => bail!("the Go on the PATH is too old ({}): {remedy}", words.trim()),
    }
}
