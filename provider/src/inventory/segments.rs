//! Where volumes are made and how much is left there, as the storage drivers tell it (CSIStorageCapacity).
//!
//! A class whose driver tells nothing can be made anywhere, up to what is sold of it. Of one that tells, a node that no place is
//! for has none.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::storage::v1::CSIStorageCapacity;
use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};

use super::quantity::{Rounding, units};
use super::storage::Sold;

/// Places where volumes of a class are made.
#[derive(Debug, Clone)]
pub struct Segments {
    /// By the document's word for the class.
    classes: BTreeMap<String, Vec<Segment>>,
}

#[derive(Debug, Clone)]
struct Segment {
    name: String,
    /// Which nodes reach it; `None` for none.
    nodes: Option<Selector>,
    bytes: u64,
}

/// The place of a class on a node that no place is for.
const NOWHERE: &str = "nowhere";

impl Default for Segments {
    fn default() -> Self {
        Self::of(&BTreeMap::new(), &[])
    }
}

impl Segments {
    /// The places of the classes that are sold.
    #[must_use]
    pub fn of(sold: &BTreeMap<String, Sold>, told: &[Arc<CSIStorageCapacity>]) -> Self {
        let mut classes: BTreeMap<String, Vec<Segment>> = BTreeMap::new();
        for (word, Sold { name, .. }) in sold {
            let of_class = told.iter().filter(|place| place.storage_class_name == *name);
            let mut places: Vec<Segment> = of_class.map(|place| Segment::read(place)).collect();
            // The one with the most left is looked at first.
            places.sort_by(|one, other| (other.bytes, &one.name).cmp(&(one.bytes, &other.name)));
            if !places.is_empty() {
                classes.insert(word.clone(), places);
            }
        }
        Self { classes }
    }

    /// Bytes left in every place, by name.
    #[must_use]
    pub fn left(&self) -> BTreeMap<String, u64> {
        let places = self.classes.values().flatten().map(|place| (place.name.clone(), place.bytes));
        let nowhere = self.classes.keys().map(|word| (format!("{word}/{NOWHERE}"), 0));
        places.chain(nowhere).collect()
    }

    /// Where volumes for a node with these labels are made, by class.
    #[must_use]
    pub fn of_node(&self, labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let place = |(word, places): (&String, &Vec<Segment>)| {
            let reached =
                places.iter().find(|place| place.nodes.as_ref().is_some_and(|nodes| nodes.matches(labels)));
            (word.clone(), reached.map_or_else(|| format!("{word}/{NOWHERE}"), |place| place.name.clone()))
        };
        self.classes.iter().map(place).collect()
    }
}

impl Segment {
    /// What cannot be read is a place that nobody reaches, with nothing left.
    fn read(place: &CSIStorageCapacity) -> Self {
        let bytes = place.capacity.as_ref().and_then(|bytes| units(&bytes.0, 1, Rounding::Down));
        Self {
            name: format!("{}/{}", place.namespace().unwrap_or_default(), place.name_any()),
            nodes: place.node_topology.clone().and_then(|nodes| nodes.try_into().ok()),
            bytes: bytes.unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn place(name: &str, class: &str, zone: &Value, capacity: &str) -> Arc<CSIStorageCapacity> {
        let place = json!({
            "metadata": {"name": name, "namespace": "kube-system"}, "storageClassName": class, "nodeTopology": zone,
            "capacity": capacity,
        });
        Arc::new(serde_json::from_value(place).expect("a place"))
    }

    fn zone(name: &str) -> BTreeMap<String, String> {
        BTreeMap::from([("zone".to_owned(), name.to_owned())])
    }

    #[test]
    fn a_node_makes_volumes_in_the_place_that_it_reaches_with_the_most_left() {
        let sold = |name: &str| Sold { name: name.to_owned(), limit_bytes: 1, id_mapped: true };
        let sold =
            BTreeMap::from([("beta1".to_owned(), sold("network")), ("beta3".to_owned(), sold("local"))]);
        let of = |name: &str| json!({"matchLabels": {"zone": name}});
        let segments = Segments::of(
            &sold,
            &[
                place("small", "local", &of("a"), "1Gi"),
                place("large", "local", &of("a"), "2Gi"),
                place("other", "local", &of("b"), "1.5"),
                place("closed", "local", &Value::Null, "9Gi"),
                place(
                    "odd",
                    "local",
                    &json!({"matchExpressions": [{"key": "zone", "operator": "Near"}]}),
                    "9Gi",
                ),
                place("stranger", "another", &of("a"), "9Gi"),
            ],
        );
        let at =
            |name| segments.of_node(&zone(name)).into_iter().map(|(word, place)| format!("{word} {place}"));
        assert_eq!(at("a").collect::<Vec<_>>(), ["beta3 kube-system/large"], "beta1 is made anywhere");
        assert_eq!(at("b").collect::<Vec<_>>(), ["beta3 kube-system/other"]);
        assert_eq!(at("c").collect::<Vec<_>>(), ["beta3 beta3/nowhere"]);
        let left = segments.left();
        assert_eq!(
            (left["kube-system/large"], left["kube-system/other"], left["beta3/nowhere"]),
            (2 << 30, 1, 0)
        );
        assert!(Segments::default().of_node(&zone("a")).is_empty());
    }

    #[test]
    fn a_place_of_which_nothing_can_be_read_has_nothing_left() {
        let sold = Sold { name: "local".to_owned(), limit_bytes: 1, id_mapped: true };
        let sold = BTreeMap::from([("beta3".to_owned(), sold)]);
        let of = |name: &str| json!({"matchLabels": {"zone": name}});
        let mut silent = place("silent", "local", &of("b"), "1");
        Arc::make_mut(&mut silent).capacity = None;
        let told =
            [place("odd", "local", &of("a"), "plenty"), place("below", "local", &of("c"), "-5"), silent];
        let segments = Segments::of(&sold, &told);
        for (zone_name, name) in [("a", "odd"), ("b", "silent"), ("c", "below")] {
            let name = format!("kube-system/{name}");
            assert_eq!(segments.of_node(&zone(zone_name))["beta3"], name);
            assert_eq!(segments.left()[&name], 0, "{name}");
        }
    }
}
