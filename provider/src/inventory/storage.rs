//! Which classes of persistent volumes can be offered: those that the operator names, as far as the cluster has them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use manifests::objects;

/// What of a StorageClass is sold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sold {
    /// The StorageClass.
    pub name: String,
    /// Bytes, in all.
    pub limit_bytes: u64,
    /// Whether its file systems take id-mapped mounts.
    pub id_mapped: bool,
}

/// The classes that are on offer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Classes {
    /// By the document's word, what objects say of it.
    pub offered: BTreeMap<String, objects::StorageClass>,
    /// Why a class is not offered, a sentence each.
    pub findings: BTreeSet<String>,
    /// The classes that the cluster has and the operator does not name.
    pub ignored: BTreeSet<String>,
}

/// Compares what is to be sold, by the document's word for it, with what the cluster has.
pub fn classes(sold: &BTreeMap<String, Sold>, there: &[Arc<StorageClass>]) -> Classes {
    let is_named = |class: &&Arc<StorageClass>| sold.values().any(|sold| sold.name == class.name_any());
    let ignored = there.iter().filter(|class| !is_named(class)).map(|class| class.name_any());
    let mut classes = Classes { ignored: ignored.collect(), ..Classes::default() };
    for (word, Sold { name, limit_bytes: _, id_mapped }) in sold {
        let Some(class) = there.iter().find(|class| class.name_any() == *name) else {
            classes.findings.insert(format!(
                "volumes of class {word} are not offered: the cluster has no StorageClass {name}; create it, or correct \
                 cluster.storageClasses.{word}.name"
            ));
            continue;
        };
        let expandable = class.allow_volume_expansion.unwrap_or(false);
        let class = objects::StorageClass { name: name.clone(), id_mapped: *id_mapped, expandable };
        classes.offered.insert(word.clone(), class);
    }
    classes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_cluster_lacks_is_not_offered_and_growth_is_its_own_word() {
        let sold = |name: &str| Sold { name: name.to_owned(), limit_bytes: 1, id_mapped: true };
        let sold = BTreeMap::from([
            ("beta1".to_owned(), sold("stiff")),
            ("beta2".to_owned(), sold("gone")),
            ("beta3".to_owned(), sold("fast")),
        ]);
        let class = |name: &str, grows: Option<bool>| -> Arc<StorageClass> {
            let class =
                json!({"metadata": {"name": name}, "provisioner": "p", "allowVolumeExpansion": grows});
            Arc::new(serde_json::from_value(class).expect("a class"))
        };
        let there = [class("fast", Some(true)), class("stiff", None), class("local", None)];
        let found = classes(&sold, &there);
        assert_eq!(found.ignored, BTreeSet::from(["local".to_owned()]));
        let grows: Vec<(&str, bool)> =
            found.offered.iter().map(|(word, class)| (word.as_str(), class.expandable)).collect();
        assert_eq!(grows, [("beta1", false), ("beta3", true)]);
        let finding = found.findings.first().expect("told");
        assert!(
            finding.contains("class beta2") && finding.contains("cluster.storageClasses.beta2.name"),
            "{finding}"
        );
    }
}
