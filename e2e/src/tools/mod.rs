//! The parts that the bench is made of: which they are, and how each is built or installed once.
//!
//! A part lies in `tools/<part>-<version>/` of the cache. It is made beside its place, checked by running it, and
//! renamed into it, so that a part that is there is whole; a run that was interrupted goes on with the next part.

mod debian;
mod foundry;
mod go;
mod part;
mod rust;
mod stream;
mod wheel;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::cache::{Cache, free_bytes};
use crate::progress::{human, say};
use part::{Part, Recipe};

/// What reads the contracts for known mistakes; not there on every machine.
pub(crate) const SLITHER: &str = "slither-analyzer";

const GIB: u64 = 1 << 30;
/// Sources, build caches and results of all parts together take about eleven.
const ROOM_FOR_A_FIRST_RUN: u64 = 15 * GIB;

/// The installed parts.
#[derive(Clone, Debug)]
pub struct Tools {
    folders: Vec<(&'static str, PathBuf)>,
}

/// What the parts are wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Starting a bench.
    Bench,
    /// Starting a bench and installing the chart on it.
    Chart,
    /// Starting a bench and running every check.
    Everything,
}

impl Tools {
    /// Builds or installs whatever is missing, with progress, and answers where everything is. Instant when nothing
    /// is missing.
    ///
    /// # Errors
    /// When a part cannot be had; the sentence names the part and what would help.
    pub fn ensure(cache: &Cache, purpose: Purpose) -> Result<Self> {
        if let Some(tools) = Self::installed(cache, purpose)?
            && extras(purpose).iter().all(|extra| tools.has(extra.name))
        {
            return Ok(tools);
        }
        let start = Instant::now();
        let _lock = cache.lock("tools", || say("another run is building the parts; waiting for it"))?;
        debian::ensure()?;
        let parts = parts(purpose)?;
        let mut missing = Vec::new();
        for part in &parts {
            if !part.is_installed(cache)? {
                missing.push(part);
            }
        }
        if !missing.is_empty() {
            refuse_a_small_disk(cache)?;
        }
        for part in &missing {
            part.install(cache)?;
        }
        let mut made = missing.len();
        for extra in extras(purpose) {
            if extra.is_installed(cache)? {
                continue;
            }
            match extra.install(cache) {
                Ok(()) => made += 1,
                Err(error) => {
                    say(format_args!(
                        "{} could not be had, and what needs it will be NOT RUN: {error:#}",
                        extra.name
                    ));
                }
            }
        }
        foundry::ensure_contract_packages()?;
        tell_summary(cache, purpose, made, start.elapsed())?;
        Self::installed(cache, purpose)?.context("a part that was made is not there any more")
    }

    /// Where everything is, if nothing is missing. Makes nothing and waits for nobody.
    ///
    /// # Errors
    /// When the cache or the checkout cannot be read.
    pub fn installed(cache: &Cache, purpose: Purpose) -> Result<Option<Self>> {
        let parts = parts(purpose)?;
        for part in &parts {
            if !part.is_installed(cache)? {
                return Ok(None);
            }
        }
        if debian::is_missing_something()
            || (purpose == Purpose::Everything && !foundry::has_contract_packages()?)
        {
            return Ok(None);
        }
        let mut folders: Vec<_> = parts.iter().map(|part| (part.name, part.folder(cache))).collect();
        for extra in extras(purpose) {
            if extra.is_installed(cache)? {
                folders.push((extra.name, extra.folder(cache)));
            }
        }
        Ok(Some(Self { folders }))
    }

    /// Tells which parts there are and how long each took when it was made.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn tell(cache: &Cache) -> Result<()> {
        tell_summary(cache, Purpose::Everything, 0, Duration::ZERO)
    }

    /// Whether the part `part` is there; of those that are always wanted, every one is.
    #[must_use]
    pub fn has(&self, part: &str) -> bool {
        self.folders.iter().any(|(name, _)| *name == part)
    }

    /// The program `name` of the part `part`.
    ///
    /// # Panics
    /// When this file lists no such part.
    #[must_use]
    pub fn program(&self, part: &str, name: &str) -> PathBuf {
        self.folder(part).join("bin").join(name)
    }

    /// The folder of a part.
    ///
    /// # Panics
    /// When this file lists no such part.
    #[must_use]
    pub fn folder(&self, part: &str) -> &PathBuf {
        let found = self.folders.iter().find(|(name, _)| *name == part);
        &found.unwrap_or_else(|| unreachable!("{part} is one of the parts listed here")).1
    }

    /// The folders with programs, for a `PATH`.
    pub fn program_folders(&self) -> impl Iterator<Item = PathBuf> {
        self.folders.iter().map(|(_, folder)| folder.join("bin"))
    }
}

fn parts(purpose: Purpose) -> Result<Vec<Part>> {
    let mut parts = vec![
        go::part("probe", go::OWN, &[("probe", &["version"])])?,
        go::part("cni", "github.com/containernetworking/plugins", &[("ptp", &[]), ("host-local", &[])])?,
        go::part("runc", "github.com/opencontainers/runc", &[("runc", &["--version"])])?,
        go::part("etcd", "go.etcd.io/etcd/server/v3", &[("server", &["--version"])])?,
        go::part(
            "containerd",
            "github.com/containerd/containerd/v2",
            &[("containerd", &["--version"]), ("ctr", &["--version"]), ("containerd-shim-runc-v2", &["-v"])],
        )?,
        go::part("coredns", "github.com/coredns/coredns", &[("coredns", &["-version"])])?,
        go::part("contour", "github.com/projectcontour/contour", &[("contour", &["version"])])?,
        go::part(
            "kubernetes",
            "k8s.io/kubernetes",
            &[
                ("kube-apiserver", &["--version"]),
                ("kube-controller-manager", &["--version"]),
                ("kube-scheduler", &["--version"]),
                ("kube-proxy", &["--version"]),
                ("kubelet", &["--version"]),
                ("kubectl", &["version", "--client"]),
            ],
        )?,
        Part {
            name: "envoy",
            version: "1.40.0".into(),
            recipe: Recipe::Envoy,
            checks: &[("envoy", &["--version"])],
        },
        Part {
            name: "foundry",
            version: foundry::VERSION.into(),
            recipe: Recipe::Foundry,
            checks: &[("anvil", &["--version"]), ("cast", &["--version"])],
        },
    ];
    if purpose != Purpose::Bench {
        parts.push(go::part("helm", "helm.sh/helm/v4", &[("helm", &["version"])])?);
    }
    if purpose == Purpose::Everything {
        parts.push(go::part("kubeconform", "github.com/yannh/kubeconform", &[("kubeconform", &["-v"])])?);
        parts.push(go::part(
            "helm-unittest",
            "github.com/helm-unittest/helm-unittest",
            &[("helm-unittest", &["--help"])],
        )?);
        parts.push(go::part("helm-docs", "github.com/norwoodj/helm-docs", &[("helm-docs", &["--help"])])?);
        parts.push(go::part("kwok", "sigs.k8s.io/kwok", &[("kwok", &["--version"])])?);
        parts.push(go::part("cyclonus", "github.com/mattfenwick/cyclonus", &[("cyclonus", &["version"])])?);
        parts.push(Part {
            name: "cargo-deny",
            version: "0.20.2".into(),
            recipe: Recipe::Crate,
            checks: &[("cargo-deny", &["--version"])],
        });
    }
    Ok(parts)
}

/// Parts without which everything else works: where no package index is reached, what needs them is not run, and says so.
fn extras(purpose: Purpose) -> Vec<Part> {
    let slither = Part {
        name: SLITHER,
        version: "0.11.6".into(),
        recipe: Recipe::Module("slither"),
        checks: &[("slither", &["--version"])],
    };
    if purpose == Purpose::Everything { vec![slither] } else { Vec::new() }
}

fn refuse_a_small_disk(cache: &Cache) -> Result<()> {
    let free = free_bytes(&cache.tools().parent().map_or_else(|| cache.tools(), PathBuf::from))?;
    ensure!(
        free >= ROOM_FOR_A_FIRST_RUN,
        "the disk that holds {} has {} GiB left and the parts need about {}: make room, or set XDG_CACHE_HOME to a \
         larger disk",
        cache.tools().display(),
        free / GIB,
        ROOM_FOR_A_FIRST_RUN / GIB,
    );
    Ok(())
}

fn tell_summary(cache: &Cache, purpose: Purpose, made: usize, took: Duration) -> Result<()> {
    let mut parts = parts(purpose)?;
    for extra in extras(purpose) {
        if extra.is_installed(cache)? {
            parts.push(extra);
        }
    }
    say(format_args!("\n{:<16} {:<12} made in", "part", "version"));
    for part in &parts {
        let seconds = part.seconds_it_took(cache)?;
        say(format_args!("{:<16} {:<12} {}", part.name, part.version, human(Duration::from_secs(seconds))));
    }
    let place = cache.tools();
    say(format_args!(
        "{made} of {} parts made now, in {}; they lie in {}",
        parts.len(),
        human(took),
        place.display()
    ));
    Ok(())
}
