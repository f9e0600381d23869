//! The volumes of a service: node-local ones and ones in memory, which end with their pod, and persistent ones, which end
//! with the lease.
//!
//! Every replica has claims of its own, named as its StatefulSet names them and rendered beside it. So they carry the lease's
//! label, go with a service that is dropped, and are what changes when a volume's size does.

use k8s_openapi::api::core::v1::{
    EmptyDirVolumeSource, PersistentVolumeClaim, PersistentVolumeClaimSpec, Volume as PodVolume, VolumeMount,
    VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::manifest::{Mount, Service};
use crate::objects::{Frame, RenderError, labels, unsupported};
use crate::resources::Volume;

/// What the volumes of a service become.
#[derive(Debug)]
pub(super) struct Volumes {
    /// Volumes of the pod that end with it.
    pub(super) volumes: Vec<PodVolume>,
    /// Volumes that outlive the pod.
    pub(super) claims: Vec<Claim>,
    /// Where its container sees them.
    pub(super) mounts: Vec<VolumeMount>,
    /// Bytes of node-local storage, the container's own file system included.
    pub(super) ephemeral_bytes: u64,
    /// Bytes of memory that volumes may fill.
    pub(super) ram_bytes: u64,
}

/// A persistent volume of each replica.
#[derive(Debug)]
pub(super) struct Claim {
    /// Its name in the pod.
    pub(super) name: String,
    /// The StorageClass.
    pub(super) class: String,
    /// Its size.
    pub(super) bytes: u64,
    /// Whether it can be mounted into a user namespace.
    pub(super) id_mapped: bool,
}

/// The volume of `/tmp`; other volumes have longer names.
const TMP: &str = "tmp";

/// More replicas with volumes of their own than any provider takes; each is an object.
const MOST_REPLICAS: u32 = 1000;

/// Volumes that are not mounted count towards what the container itself may write.
pub(super) fn volumes(frame: &Frame<'_>, service: &Service) -> Result<Volumes, RenderError> {
    let mut found = Volumes {
        volumes: Vec::new(),
        claims: Vec::new(),
        mounts: Vec::new(),
        ephemeral_bytes: 0,
        ram_bytes: 0,
    };
    let mounts = service.params.as_ref().and_then(|params| params.storage.as_deref()).unwrap_or_default();
    for volume in &service.resources.storage {
        let mounted: Vec<&Mount> = mounts.iter().filter(|mount| mount.name == volume.name).collect();
        let name = labels::part_of_name("volume", &volume.name);
        if volume.persistent() {
            found.claims.push(claim(frame, service, volume, name.clone())?);
        } else {
            let ram = volume.class() == Some("ram");
            let sum = if ram { &mut found.ram_bytes } else { &mut found.ephemeral_bytes };
            *sum = sum.saturating_add(volume.size.0);
            if !mounted.is_empty() {
                found.volumes.push(PodVolume {
                    name: name.clone(),
                    empty_dir: Some(EmptyDirVolumeSource {
                        medium: ram.then(|| "Memory".to_owned()),
                        size_limit: Some(Quantity(volume.size.0.to_string())),
                    }),
                    ..PodVolume::default()
                });
            }
        }
        for mount in mounted {
            found.mounts.push(mount_of(service, mount, &name, &found.mounts)?);
        }
    }
    if let Some(size) = service.x_berth.as_ref().and_then(|extension| extension.tmp_size) {
        found.volumes.push(PodVolume {
            name: TMP.to_owned(),
            empty_dir: Some(EmptyDirVolumeSource {
                medium: None,
                size_limit: Some(Quantity(size.0.to_string())),
            }),
            ..PodVolume::default()
        });
        let mount = Mount { name: TMP.to_owned(), mount: "/tmp".to_owned(), read_only: false };
        found.mounts.push(mount_of(service, &mount, TMP, &found.mounts)?);
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

fn claim(frame: &Frame<'_>, service: &Service, volume: &Volume, name: String) -> Result<Claim, RenderError> {
    let class = volume.claimed_class();
    let Some(offered) = frame.settings.storage_classes.get(class) else {
        return Err(unsupported(service, format!("persistent volumes of class {class} are not offered")));
    };
    if service.count > MOST_REPLICAS {
        let what = format!("{} replicas with persistent volumes are too many", service.count);
        return Err(unsupported(service, what));
    }
    Ok(Claim { name, class: offered.name.clone(), bytes: volume.size.0, id_mapped: offered.id_mapped })
}

fn mount_of(
    service: &Service,
    mount: &Mount,
    name: &str,
    earlier: &[VolumeMount],
) -> Result<VolumeMount, RenderError> {
    if !mount.mount.starts_with('/') || mount.mount.contains(':') {
        let what = format!("{:?} cannot be mounted at: use an absolute path without a colon", mount.mount);
        return Err(unsupported(service, what));
    }
    if earlier.iter().any(|earlier| earlier.mount_path == mount.mount) {
        return Err(unsupported(service, format!("two volumes are mounted at {:?}", mount.mount)));
    }
    Ok(VolumeMount {
        name: name.to_owned(),
        mount_path: mount.mount.clone(),
        read_only: Some(mount.read_only),
        ..VolumeMount::default()
    })
}

impl Claim {
    /// What its StatefulSet makes claims from.
    pub(super) fn template(&self) -> PersistentVolumeClaim {
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        PersistentVolumeClaim { metadata, spec: Some(self.spec()), ..PersistentVolumeClaim::default() }
    }

    /// The claims of all replicas of the StatefulSet `set`.
    pub(super) fn of_replicas(
        &self,
        frame: &Frame<'_>,
        service: &Service,
        set: &str,
    ) -> impl Iterator<Item = PersistentVolumeClaim> {
        (0..service.count).map(move |replica| PersistentVolumeClaim {
            metadata: frame.metadata_of(service, format!("{}-{set}-{replica}", self.name)),
            spec: Some(self.spec()),
            ..PersistentVolumeClaim::default()
        })
    }

    fn spec(&self) -> PersistentVolumeClaimSpec {
        PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), Quantity(self.bytes.to_string()))].into()),
                ..VolumeResourceRequirements::default()
            }),
            storage_class_name: Some(self.class.clone()),
            volume_mode: Some("Filesystem".to_owned()),
            ..PersistentVolumeClaimSpec::default()
        }
    }
}
