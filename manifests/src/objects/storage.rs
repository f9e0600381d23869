//! The volumes of a service: node-local ones and ones in memory, which end with their pod.

use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Volume as PodVolume, VolumeMount};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::manifest::Service;
use crate::objects::{RenderError, unsupported};

/// What the volumes of a service become.
pub(super) struct Volumes {
    /// Volumes of the pod.
    pub(super) volumes: Vec<PodVolume>,
    /// Where its container sees them.
    pub(super) mounts: Vec<VolumeMount>,
    /// Bytes of node-local storage, the container's own file system included.
    pub(super) ephemeral_bytes: u64,
    /// Bytes of memory that volumes may fill.
    pub(super) ram_bytes: u64,
}

/// Volumes that are not mounted count towards what the container itself may write.
pub(super) fn volumes(service: &Service) -> Result<Volumes, RenderError> {
    let mut found = Volumes { volumes: Vec::new(), mounts: Vec::new(), ephemeral_bytes: 0, ram_bytes: 0 };
    let mounts = service.params.as_ref().and_then(|params| params.storage.as_deref()).unwrap_or_default();
    for volume in &service.resources.storage {
        let bytes = volume.size.0;
        if volume.persistent() {
            let class = volume.class().unwrap_or("default");
            return Err(unsupported(
                service,
                format!("persistent volumes (class {class}) are not offered yet"),
            ));
        }
        let ram = volume.class() == Some("ram");
        let sum = if ram { &mut found.ram_bytes } else { &mut found.ephemeral_bytes };
        *sum = sum.saturating_add(bytes);

        let mut mounted = mounts.iter().filter(|mount| mount.name == volume.name).peekable();
        if mounted.peek().is_none() {
            continue;
        }
        let name = format!("volume-{}", found.volumes.len());
        for mount in mounted {
            if !mount.mount.starts_with('/') || mount.mount.contains(':') {
                let what =
                    format!("{:?} cannot be mounted at: use an absolute path without a colon", mount.mount);
                return Err(unsupported(service, what));
            }
            if found.mounts.iter().any(|earlier| earlier.mount_path == mount.mount) {
                return Err(unsupported(service, format!("two volumes are mounted at {:?}", mount.mount)));
            }
            found.mounts.push(VolumeMount {
                name: name.clone(),
                mount_path: mount.mount.clone(),
                read_only: Some(mount.read_only),
                ..VolumeMount::default()
            });
        }
        found.volumes.push(PodVolume {
            name,
            empty_dir: Some(EmptyDirVolumeSource {
                medium: ram.then(|| "Memory".to_owned()),
                size_limit: Some(Quantity(bytes.to_string())),
            }),
            ..PodVolume::default()
        });
    }
    let known = |name: &str| service.resources.storage.iter().any(|volume| volume.name == name);
    if let Some(mount) = mounts.iter().find(|mount| !known(&mount.name)) {
        return Err(unsupported(
            service,
            format!("it mounts the volume {:?}, which it does not have", mount.name),
        ));
    }
    Ok(found)
}
