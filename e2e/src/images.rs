//! The images of the bench, made here: one layer with one program, which is the pause of every pod, a web server,
//! and the stand-in for the programs of other people's images.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::node::PAUSE_IMAGE;
use crate::registry;
use crate::tools::Tools;

/// Interpreters and shells that documents start by name; in our images each of them is the stand-in.
const STAND_INS: [&str; 12] = [
    "bin/sh",
    "bin/bash",
    "bin/ash",
    "usr/bin/env",
    "usr/bin/bash",
    "usr/bin/python",
    "usr/bin/python3",
    "usr/bin/node",
    "usr/local/bin/python",
    "usr/local/bin/python3",
    "usr/local/bin/node",
    "usr/local/bin/docker-entrypoint.sh",
];

/// Bytes and the digest by which a registry knows them.
#[derive(Clone, Debug)]
pub struct Blob {
    /// `sha256:…` of the bytes.
    pub digest: String,
    /// The bytes themselves.
    pub bytes: Vec<u8>,
}

impl Blob {
    fn new(bytes: Vec<u8>) -> Self {
        Self { digest: format!("sha256:{}", hex::encode(Sha256::digest(&bytes))), bytes }
    }
}

/// An image of one layer.
#[derive(Clone, Debug)]
pub struct Image {
    /// The compressed files.
    pub layer: Blob,
    /// How a container of it starts.
    pub config: Blob,
}

impl Image {
    /// The image's manifest, in the media type it is stored under.
    #[must_use]
    pub fn manifest(&self, media_type: &str) -> String {
        json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": describe("application/vnd.oci.image.config.v1+json", &self.config),
            "layers": [describe("application/vnd.oci.image.layer.v1.tar+gzip", &self.layer)],
        })
        .to_string()
    }
}

fn describe(media_type: &str, blob: &Blob) -> Value {
    json!({"mediaType": media_type, "digest": blob.digest, "size": blob.bytes.len()})
}

/// Makes images that share one layer.
pub struct Maker {
    layer: Blob,
    /// The digest of the layer before it was compressed.
    files: String,
}

impl Maker {
    /// Packs the probe program.
    ///
    /// # Errors
    /// When the program cannot be read.
    pub fn new(tools: &Tools) -> Result<Self> {
        let program = tools.program("probe", "probe");
        let files = pack(&program).with_context(|| format!("failed to pack {}", program.display()))?;
        let mut compressed = GzEncoder::new(Vec::new(), Compression::fast());
        compressed.write_all(&files).context("failed to compress the layer")?;
        let layer = compressed.finish().context("failed to compress the layer")?;
        Ok(Self { layer: Blob::new(layer), files: Blob::new(files).digest })
    }

    /// An image called `name` that listens on `ports` and shows the variables `shown` on its page.
    #[must_use]
    pub fn web(&self, name: &str, ports: &[u16], shown: &[&str]) -> Image {
        let ports = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
        let environment = [
            format!("PROBE_IMAGE={name}"),
            format!("PROBE_PORTS={ports}"),
            format!("PROBE_SHOW={}", shown.join(",")),
        ];
        self.image(&json!({"Entrypoint": ["/probe", "serve"], "Env": environment, "WorkingDir": "/"}))
    }

    fn pause(&self) -> Image {
        self.image(&json!({"Entrypoint": ["/probe", "pause"], "User": "65535:65535"}))
    }

    fn image(&self, config: &Value) -> Image {
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [self.files]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "the bench"}],
        });
        Image { layer: self.layer.clone(), config: Blob::new(config.to_string().into_bytes()) }
    }
}

fn pack(program: &Path) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let bytes = fs::read(program)?;
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, "probe", bytes.as_slice())?;
    for stand_in in STAND_INS {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_mode(0o777);
        header.set_size(0);
        tar.append_link(&mut header, stand_in, "/probe")?;
    }
    for folder in ["tmp", "etc", "var", "data"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(if folder == "tmp" { 0o1777 } else { 0o755 });
        header.set_size(0);
        tar.append_data(&mut header, format!("{folder}/"), std::io::empty())?;
    }
    Ok(tar.into_inner()?)
}

/// Pushes the images that every bench has: the pause and those of the documents beside this crate.
pub(crate) async fn push_own(tools: &Tools) -> Result<()> {
    let maker = Maker::new(tools)?;
    let (pause, tag) = split(PAUSE_IMAGE);
    registry::push(pause, tag, &maker.pause()).await?;
    registry::push("berthdemo/hello", "1.0", &maker.web("berthdemo/hello:1.0", &[8080], &["GREETING"]))
        .await?;
    let report = maker.web("berthdemo/gpu-report:1.0", &[8080], &["RUN_NAME", "NVIDIA_VISIBLE_DEVICES"]);
    registry::push("berthdemo/gpu-report", "1.0", &report).await
}

/// Pushes a stand-in for somebody else's image, under the name that their document uses.
///
/// # Errors
/// When the name has a form that only a digest could answer, or the registry does not take the image.
pub async fn push_stand_in(maker: &Maker, name: &str, ports: &[u16]) -> Result<()> {
    anyhow::ensure!(
        !name.contains('@'),
        "the image {name} is named by its digest, which no other image can have"
    );
    let (repository, tag) = split(name);
    let repository =
        if repository.contains('/') { repository.to_owned() } else { format!("library/{repository}") };
    registry::push(&repository, tag, &maker.web(name, ports, &[])).await
}

/// The path of an image's name within its registry, and its tag.
fn split(name: &str) -> (&str, &str) {
    let path = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => path,
        _ => name,
    };
    path.split_once(':').unwrap_or((path, "latest"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_split_as_the_container_runtime_does() {
        assert_eq!(split("docker.io/berthdemo/pause:1.0"), ("berthdemo/pause", "1.0"));
        assert_eq!(split("ghcr.io/owner/app:v2"), ("owner/app", "v2"));
        assert_eq!(split("nginx"), ("nginx", "latest"));
        assert_eq!(split("registry.example:5000/app:3"), ("app", "3"));
    }

    #[test]
    fn the_same_program_makes_the_same_image() {
        let program = tempfile::NamedTempFile::new().unwrap();
        fs::write(program.path(), "program").unwrap();
        assert_eq!(pack(program.path()).unwrap(), pack(program.path()).unwrap());
    }
}
