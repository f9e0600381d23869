//! The bench's persistent volumes: folders of its node that claims are bound to, and a class that lets claims grow. Nobody makes
//! more of them and nothing resizes them, so a claim that grows is a larger claim on the same folder.

use serde_json::{Value, json};

/// The StorageClass.
pub const STORAGE_CLASS: &str = "bench-kept";

/// How many claims find a volume while a bench is up: one that was released is not bound again.
const VOLUMES: u32 = 8;

/// The class and the volumes.
pub(crate) fn objects() -> Vec<Value> {
    let class = json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": STORAGE_CLASS},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": true,
    });
    let volume = |number: u32| {
        json!({
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": format!("{STORAGE_CLASS}-{number}")},
            "spec": {
                "capacity": {"storage": "512Mi"},
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": STORAGE_CLASS,
                // Inside a bench this folder is the bench's own, and ends with it.
                "hostPath": {"path": format!("/var/lib/{STORAGE_CLASS}/{number}"), "type": "DirectoryOrCreate"},
            },
        })
    };
    std::iter::once(class).chain((1..=VOLUMES).map(volume)).collect()
}
