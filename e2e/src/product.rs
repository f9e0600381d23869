//! The product's image: both programs and the little that they need of a system, for a container that is nobody and
//! has no shell. The programs are linked with glibc, because a static one could not open the NVML library, and so the
//! image carries the loader and the libraries of the system that it is made on.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use flate2::Compression;
use indicatif::DecimalBytes;
use serde_json::json;

use crate::oci::{Image, Root};
use crate::progress::say;
use crate::workspace;

/// The name under which the image is made, without a tag.
pub const NAME: &str = "berth/provider";
/// The user and the group that containers of the image run as.
pub const USER: u32 = 65532;

/// What a person's users see of the programs, in `/usr/bin` of the image.
const PROGRAMS: [&str; 2] = ["berth-provider", "berth"];
/// Empty parts of today's glibc which libraries that were linked long ago, NVML's among them, still ask for.
const FOR_NVML: [&str; 3] = ["libdl.so.2", "libpthread.so.0", "librt.so.1"];
const AUTHORITIES: &str = "etc/ssl/certs/ca-certificates.crt";
/// Tells the NVIDIA container runtime where libraries are looked for.
const DEBIAN: &str = "etc/debian_version";
/// The packages that the borrowed files come from: their licences travel along.
const BORROWED: [&str; 3] = ["libc6", "libgcc-s1", "ca-certificates"];

/// What is compiled for the image lies here below the target folder: it is compiled with flags of its own, which would
/// make other builds start anew.
const RELEASE: &str = "image";
const AGAIN: &str = "image-again";

/// Builds the release programs, makes the image, and leaves it as one file beside them. With `verify` the programs are
/// built a second time from nothing, and have to make the same image.
///
/// # Errors
/// When the build fails, a file of the system is missing, or the second image is another one.
pub fn make(verify: bool) -> Result<()> {
    let programs = build(RELEASE)?;
    let image = assemble(&programs, Compression::best())?;
    let digest = image.manifest().digest;
    ensure!(
        assemble(&programs, Compression::best())?.manifest().digest == digest,
        "the same programs made two different images"
    );
    let version = env!("CARGO_PKG_VERSION");
    let name = format!("{NAME}:{version}");
    let path = programs.join(format!("berth-provider-{version}.oci.tar"));
    fs::write(&path, image.archive(&name)?).with_context(|| format!("failed to write {}", path.display()))?;
    say(format_args!("{name}@{digest}"));
    say(format_args!(
        "{} to fetch, {} unpacked: {}",
        DecimalBytes(image.compressed_bytes() as u64),
        DecimalBytes(image.unpacked_bytes() as u64),
        path.display()
    ));
    say(format_args!(
        "to a registry of yours: skopeo copy oci-archive:{} docker://REGISTRY/{name}",
        path.display()
    ));
    if verify {
        let folder = target()?.join(AGAIN);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("failed to empty {}", folder.display()))?;
        }
        let again = assemble(&build(AGAIN)?, Compression::best())?.manifest().digest;
        ensure!(again == digest, "built again from nothing the programs make another image: {again}");
        fs::remove_dir_all(&folder).with_context(|| format!("failed to remove {}", folder.display()))?;
        say("built again from nothing the programs make the same image");
    }
    Ok(())
}

/// The image of the programs that lie in `folder`.
///
/// # Errors
/// When a program or a file of the system cannot be read.
pub fn assemble(folder: &Path, compression: Compression) -> Result<Image> {
    let mut root = Root::default()
        .folder("tmp", 0o1777)
        .file("etc/passwd", 0o644, format!("berth:x:{USER}:{USER}:berth:/:/nonexistent\n"))
        .file("etc/group", 0o644, format!("berth:x:{USER}:\n"))
        .file("etc/nsswitch.conf", 0o644, "hosts: files dns\n")
        .copy(AUTHORITIES, 0o644, &Path::new("/").join(AUTHORITIES))?;
    if Path::new("/").join(DEBIAN).exists() {
        root = root.copy(DEBIAN, 0o644, &Path::new("/").join(DEBIAN))?;
    }
    for package in BORROWED {
        let licence = format!("usr/share/doc/{package}/copyright");
        if Path::new("/").join(&licence).exists() {
            root = root.copy(&licence, 0o644, &Path::new("/").join(&licence))?;
        }
    }
    let mut libraries = BTreeSet::new();
    for name in PROGRAMS {
        let program = folder.join(name);
        libraries.extend(libraries_of(&program)?);
        root = root.copy(&format!("usr/bin/{name}"), 0o755, &program)?;
    }
    for library in &libraries {
        root = root.copy(within(library)?, 0o755, library)?;
    }
    let libc = libraries.iter().find(|path| path.ends_with("libc.so.6"));
    let beside = libc.and_then(|path| path.parent()).context("the programs are not linked with glibc")?;
    for name in FOR_NVML {
        let library = beside.join(name);
        // A glibc older than 2.34 has them among the programs' own libraries.
        if !libraries.contains(&library) {
            root = root.copy(within(&library)?, 0o755, &library)?;
        }
    }
    let config = json!({
        "Entrypoint": ["/usr/bin/berth-provider"],
        "Env": ["PATH=/usr/bin"],
        "User": format!("{USER}:{USER}"),
        "WorkingDir": "/",
        "Labels": {
            "org.opencontainers.image.title": "berth-provider",
            "org.opencontainers.image.description": "The provider daemon, its node agent and the operators' and tenants' verbs",
            "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
            "org.opencontainers.image.licenses": env!("CARGO_PKG_LICENSE"),
        },
    });
    Ok(Image::new(root.layer(compression)?, &config))
}

/// The image of the programs that lie in `folder` and were built for tests, without what debuggers want of them: it is the
/// product's image in all but the compiler's effort.
///
/// # Errors
/// As [`assemble`], and when `strip` is not there.
pub fn assemble_unoptimised(folder: &Path) -> Result<Image> {
    let stripped = tempfile::tempdir().context("failed to make a folder for the programs")?;
    for name in PROGRAMS {
        let mut strip = Command::new("strip");
        strip.arg("-o").arg(stripped.path().join(name)).arg(folder.join(name));
        let status = strip.status().context("failed to start strip, which comes with every linker")?;
        ensure!(status.success(), "strip failed for {name}: {status}");
    }
    assemble(stripped.path(), Compression::fast())
}

/// The path of a file of the system, as the image has it.
fn within(path: &Path) -> Result<&str> {
    let path = path.to_str().and_then(|path| path.strip_prefix('/'));
    path.context("a library of the programs lies at a path that is not absolute")
}

/// The files that the loader opens for a program, itself included.
fn libraries_of(program: &Path) -> Result<Vec<PathBuf>> {
    let output =
        Command::new("ldd").arg(program).output().context("failed to start ldd, which comes with glibc")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "ldd cannot read {}: {said}{}",
        program.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    parse_libraries(&said).with_context(|| format!("of {}", program.display()))
}

fn parse_libraries(said: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for line in said.lines().map(str::trim).filter(|line| !line.starts_with("linux-vdso")) {
        ensure!(!line.ends_with("not found"), "a library is missing on this system: {line}");
        // `name => path (address)`, or for the loader `path (address)`.
        let path = line.rsplit(" => ").next().and_then(|rest| rest.split_whitespace().next());
        let path = path.filter(|path| path.starts_with('/'));
        found.push(PathBuf::from(path.with_context(|| format!("ldd says what is no library: {line}"))?));
    }
    Ok(found)
}

/// The programs as they are released, built into a folder of their own below the target folder.
fn build(name: &str) -> Result<PathBuf> {
    let target = target()?.join(name);
    let mut cargo = workspace::cargo()?;
    cargo.env("CARGO_TARGET_DIR", &target).args(["build", "--release", "--locked"]);
    cargo.args(["--package", "provider", "--package", "market"]);
    cargo.args(PROGRAMS.iter().flat_map(|program| ["--bin", program]));
    // Where this machine keeps things is neither a reader's business nor allowed to make another image.
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    let places =
        [(Some(target.clone()), "/target"), (Some(workspace::root().to_owned()), "/berth"), (home, "/cargo")];
    let places = places.iter().filter_map(|(place, name)| Some((place.as_ref()?.display(), name)));
    let rust: Vec<_> =
        places.clone().map(|(place, name)| format!("--remap-path-prefix={place}={name}")).collect();
    let c: Vec<_> = places.map(|(place, name)| format!("-ffile-prefix-map={place}={name}")).collect();
    cargo.env("CARGO_ENCODED_RUSTFLAGS", rust.join("\u{1f}")).env("CFLAGS", c.join(" "));
    let status = cargo.status().context("failed to start cargo")?;
    ensure!(status.success(), "the release could not be built ({status}): see the compiler's words above");
    Ok(target.join("release"))
}

fn target() -> Result<PathBuf> {
    let binaries = workspace::binaries()?;
    Ok(binaries.parent().context("this program lies in no target folder")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_and_every_library_are_found_and_a_missing_one_is_named() {
        let said = "\tlinux-vdso.so.1 (0x00007f53fa26d000)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 \
                    (0x00007f53f581e000)\n\t/lib64/ld-linux-x86-64.so.2 (0x00007f53fa26f000)\n";
        let found = parse_libraries(said).unwrap();
        assert_eq!(
            found,
            ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from)
        );
        let error = parse_libraries("\tlibnone.so.1 => not found\n").unwrap_err();
        assert_eq!(error.to_string(), "a library is missing on this system: libnone.so.1 => not found");
    }
}
