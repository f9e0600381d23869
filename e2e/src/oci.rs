//! Images in the form that every registry and container runtime takes, made without a container runtime. The same
//! files make the same bytes: entries stand in a fixed order, belong to root, and carry no time.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The media type of an image's manifest.
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
/// The time that every image says it was made at, so that it says nothing of when it was.
const NO_TIME: &str = "1970-01-01T00:00:00Z";

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

    fn described_as(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": self.digest, "size": self.bytes.len()})
    }
}

/// What a container finds below `/`, by path without the leading slash.
#[derive(Debug, Default)]
pub struct Root(BTreeMap<String, Entry>);

#[derive(Debug)]
enum Entry {
    Folder { mode: u32 },
    File { mode: u32, bytes: Vec<u8> },
    Link { target: String },
}

impl Root {
    /// A folder with these permissions; the folders above it are made by whoever unpacks.
    #[must_use]
    pub fn folder(mut self, path: &str, mode: u32) -> Self {
        self.0.insert(format!("{path}/"), Entry::Folder { mode });
        self
    }

    /// A file of these bytes.
    #[must_use]
    pub fn file(mut self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) -> Self {
        self.0.insert(path.to_owned(), Entry::File { mode, bytes: bytes.into() });
        self
    }

    /// A file with the bytes that the file `from` has now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn copy(self, path: &str, mode: u32, from: &Path) -> Result<Self> {
        let bytes = fs::read(from).with_context(|| format!("failed to read {}", from.display()))?;
        Ok(self.file(path, mode, bytes))
    }

    /// A symbolic link.
    #[must_use]
    pub fn link(mut self, path: &str, target: &str) -> Self {
        self.0.insert(path.to_owned(), Entry::Link { target: target.to_owned() });
        self
    }

    /// Packs everything into one layer.
    ///
    /// # Errors
    /// When a path is too long for an archive.
    pub fn layer(&self, compression: Compression) -> Result<Layer> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, entry) in &self.0 {
            let mut header = tar::Header::new_gnu();
            header.set_size(0);
            match entry {
                Entry::Folder { mode } => {
                    header.set_entry_type(tar::EntryType::Directory);
                    header.set_mode(*mode);
                    tar.append_data(&mut header, path, std::io::empty())
                }
                Entry::File { mode, bytes } => {
                    header.set_mode(*mode);
                    header.set_size(bytes.len() as u64);
                    tar.append_data(&mut header, path, bytes.as_slice())
                }
                Entry::Link { target } => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_mode(0o777);
                    tar.append_link(&mut header, path, target)
                }
            }
            .with_context(|| format!("failed to pack {path}"))?;
        }
        let files = tar.into_inner()?;
        let mut compressed = GzEncoder::new(Vec::new(), compression);
        compressed.write_all(&files)?;
        Ok(Layer {
            compressed: Blob::new(compressed.finish()?),
            bytes: files.len(),
            files: Blob::new(files).digest,
        })
    }
}

/// Packed files.
#[derive(Clone, Debug)]
pub struct Layer {
    compressed: Blob,
    /// The digest before it was compressed.
    files: String,
    /// Bytes before it was compressed.
    bytes: usize,
}

/// An image of one layer.
#[derive(Clone, Debug)]
pub struct Image {
    layer: Layer,
    config: Blob,
}

impl Image {
    /// An image of these files. `config` is the `config` object of the image specification: `Entrypoint`, `Env`,
    /// `User`, `Labels` and the like.
    #[must_use]
    pub fn new(layer: Layer, config: &Value) -> Self {
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "created": NO_TIME,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [layer.files]},
            "history": [{"created": NO_TIME, "created_by": "cargo e2e"}],
        });
        Self { layer, config: Blob::new(config.to_string().into_bytes()) }
    }

    /// What a registry holds of the image beside its manifest.
    #[must_use]
    pub fn blobs(&self) -> [&Blob; 2] {
        [&self.layer.compressed, &self.config]
    }

    /// The manifest; its digest is the image's.
    #[must_use]
    pub fn manifest(&self) -> Blob {
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": self.config.described_as(CONFIG_TYPE),
            "layers": [self.layer.compressed.described_as(LAYER_TYPE)],
        });
        Blob::new(manifest.to_string().into_bytes())
    }

    /// Bytes that a node fetches.
    #[must_use]
    pub fn compressed_bytes(&self) -> usize {
        self.manifest().bytes.len() + self.blobs().iter().map(|blob| blob.bytes.len()).sum::<usize>()
    }

    /// Bytes that a node stores.
    #[must_use]
    pub fn unpacked_bytes(&self) -> usize {
        self.layer.bytes
    }

    /// The image under `name`, as the one file (`oci-archive`) that `ctr images import`, `docker load`, `podman load`
    /// and `skopeo copy` read.
    ///
    /// # Errors
    /// When memory's writer fails, which it does not.
    pub fn archive(&self, name: &str) -> Result<Vec<u8>> {
        let manifest = self.manifest();
        let mut described = manifest.described_as(MANIFEST_TYPE);
        let tag = name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        described["annotations"] = json!({
            "io.containerd.image.name": name,
            "org.opencontainers.image.ref.name": tag,
        });
        let index = json!({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [described]});
        let mut tar = tar::Builder::new(Vec::new());
        let mut put = |path: &str, bytes: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, path, bytes)
        };
        put("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        put("index.json", index.to_string().as_bytes())?;
        for blob in self.blobs().into_iter().chain([&manifest]) {
            put(&format!("blobs/{}", blob.digest.replace(':', "/")), &blob.bytes)?;
        }
        Ok(tar.into_inner()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(root: &Root) -> Image {
        Image::new(root.layer(Compression::fast()).unwrap(), &json!({"Entrypoint": ["/program"]}))
    }

    #[test]
    fn the_order_in_which_files_were_named_does_not_change_the_image() {
        let one =
            Root::default().file("program", 0o755, "program").folder("tmp", 0o1777).link("sh", "/program");
        let other =
            Root::default().link("sh", "/program").folder("tmp", 0o1777).file("program", 0o755, "program");
        assert_eq!(image(&one).manifest().digest, image(&other).manifest().digest);
    }

    #[test]
    fn another_byte_another_mode_or_another_name_is_another_image() {
        let digests = [
            ("program", 0o755, "a"),
            ("program", 0o755, "b"),
            ("program", 0o555, "a"),
            ("other", 0o755, "a"),
        ]
        .map(|(path, mode, bytes)| image(&Root::default().file(path, mode, bytes)).manifest().digest);
        let distinct: std::collections::BTreeSet<_> = digests.iter().collect();
        assert_eq!(distinct.len(), digests.len());
    }

    #[test]
    fn an_archive_holds_every_blob_under_its_digest() {
        let image = image(&Root::default().file("program", 0o755, "program"));
        let archive = image.archive("registry.example/app:1").unwrap();
        let mut found = BTreeMap::new();
        for entry in tar::Archive::new(archive.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            found.insert(path, bytes);
        }
        let index: Value = serde_json::from_slice(&found["index.json"]).unwrap();
        let manifest = index["manifests"][0]["digest"].as_str().unwrap();
        assert_eq!(manifest, image.manifest().digest);
        let manifest: Value =
            serde_json::from_slice(&found[&format!("blobs/{}", manifest.replace(':', "/"))]).unwrap();
        for described in [&manifest["config"], &manifest["layers"][0]] {
            let digest = described["digest"].as_str().unwrap();
            let bytes = &found[&format!("blobs/{}", digest.replace(':', "/"))];
            assert_eq!(Blob::new(bytes.clone()).digest, digest);
            assert_eq!(described["size"], bytes.len());
        }
    }
}
