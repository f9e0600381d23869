//! The images of the bench, made here: one layer with one program, which is the pause of every pod, a web server,
//! and the stand-in for the programs of other people's images.

use anyhow::Result;
use flate2::Compression;
use serde_json::{Value, json};

use crate::node::PAUSE_IMAGE;
use crate::oci::{Image, Layer, Root};
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

/// Makes images that share one layer.
pub struct Maker {
    layer: Layer,
}

impl Maker {
    /// Packs the probe program.
    ///
    /// # Errors
    /// When the program cannot be read.
    pub fn new(tools: &Tools) -> Result<Self> {
        let mut root =
            Root::default().copy("probe", 0o755, &tools.program("probe", "probe"))?.folder("tmp", 0o1777);
        for folder in ["etc", "var", "data"] {
            root = root.folder(folder, 0o755);
        }
        for stand_in in STAND_INS {
            root = root.link(stand_in, "/probe");
        }
        Ok(Self { layer: root.layer(Compression::fast())? })
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
        Image::new(self.layer.clone(), config)
    }
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
}
