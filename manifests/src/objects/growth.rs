//! Whether the persistent volumes of a group that runs can become those of its next manifest: larger ones, where the class
//! allows that, and nothing else. What cannot be is refused before anything changes.

use std::collections::BTreeMap;

use crate::manifest::{Group, Service};
use crate::objects::StorageClass;
use crate::resources::Volume;

/// A volume that cannot become what the next manifest wants.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("service {service}: its persistent volume \"{volume}\" {problem}")]
pub struct VolumeError {
    /// Which service.
    pub service: String,
    /// Which of its volumes, as the document names it.
    pub volume: String,
    /// What is wrong with it.
    pub problem: VolumeProblem,
}

/// What is wrong with a volume of the next manifest, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VolumeProblem {
    /// It has more now.
    #[error(
        "has {has} bytes and cannot become smaller, as {wanted} bytes would be: keep its size, or move what is needed of it to \
         a volume of another name"
    )]
    Smaller {
        /// Bytes now.
        has: u64,
        /// Bytes in the next manifest.
        wanted: u64,
    },
    /// It lies in another class.
    #[error(
        "is of class {has} and cannot become one of class {wanted}: keep its class, or use a volume of another name and copy"
    )]
    OtherClass {
        /// The class now, in the document's word.
        has: String,
        /// The class in the next manifest.
        wanted: String,
    },
    /// It would have to grow, and nothing of its class does.
    #[error(
        "has {has} bytes, and volumes of class {class} cannot grow here, to {wanted} bytes or otherwise: keep its size, or use a \
         volume of another name and copy"
    )]
    CannotGrow {
        /// The class, in the document's word.
        class: String,
        /// Bytes now.
        has: u64,
        /// Bytes in the next manifest.
        wanted: u64,
    },
}

/// Whether every persistent volume that the groups have in common, by service and name, is the same in `next` or may grow to
/// it. Volumes and services that are only in one of them come and go. `classes` are those that are offered.
///
/// # Errors
/// The first volume that cannot become what `next` wants.
pub fn volumes_may_become(
    running: &Group,
    next: &Group,
    classes: &BTreeMap<String, StorageClass>,
) -> Result<(), VolumeError> {
    for service in &next.services {
        let Some(before) = running.services.iter().find(|before| before.name == service.name) else {
            continue;
        };
        for volume in persistent(service) {
            let Some(has) = persistent(before).find(|has| has.name == volume.name) else { continue };
            may_become(has, volume, classes).map_err(|problem| VolumeError {
                service: service.name.clone(),
                volume: volume.name.clone(),
                problem,
            })?;
        }
    }
    Ok(())
}

fn persistent(service: &Service) -> impl Iterator<Item = &Volume> {
    service.resources.storage.iter().filter(|volume| volume.persistent())
}

fn may_become(
    has: &Volume,
    wanted: &Volume,
    classes: &BTreeMap<String, StorageClass>,
) -> Result<(), VolumeProblem> {
    let (class, other) = (has.claimed_class(), wanted.claimed_class());
    let (has, wanted) = (has.size.0, wanted.size.0);
    // Two words may stand for one class of the cluster.
    let of_cluster = |word: &str| classes.get(word).map(|class| class.name.as_str());
    if class != other && (of_cluster(class).is_none() || of_cluster(class) != of_cluster(other)) {
        return Err(VolumeProblem::OtherClass { has: class.to_owned(), wanted: other.to_owned() });
    }
    if wanted < has {
        return Err(VolumeProblem::Smaller { has, wanted });
    }
    if wanted > has && !classes.get(other).is_some_and(|class| class.expandable) {
        return Err(VolumeProblem::CannotGrow { class: other.to_owned(), has, wanted });
    }
    Ok(())
}
