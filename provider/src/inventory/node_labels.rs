//! Loop: writes on each node what GPUs it sells, as the label `berth.dev/gpu`, for operators and for placement by hand.
//!
//! It is the only thing that the daemon changes on a node. A node whose record is missing or old keeps its label: not knowing
//! is no reason to change anything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use manifests::gpu::NODE_LABEL;
use serde_json::json;

use super::Inventory;
use super::offers::Offers;
use crate::clock::Clock;
use crate::task::{Report, Turn};

const CALL: Duration = Duration::from_secs(10);

/// Keeps the labels.
pub struct NodeLabels {
    /// The cluster.
    pub client: Client,
    /// What is known of it.
    pub inventory: Inventory,
    /// The time by which records are fresh.
    pub clock: Clock,
}

impl Turn for NodeLabels {
    const NAME: &'static str = "node_labels";

    async fn turn(&mut self) -> anyhow::Result<Report> {
        let seen = self
            .inventory
            .offers(self.clock.now())
            .and_then(|offers| Ok((offers, self.inventory.nodes.all()?)));
        let (offers, nodes) = match seen {
            // The watches wake this loop when the first answer is there.
            Err(blind) if blind.is_starting() => return Ok(Report::default()),
            seen => seen?,
        };
        let changes = changes(&nodes, &offers);
        let api: Api<Node> = Api::all(self.client.clone());
        let mut changed = 0;
        for (node, label) in changes {
            let patch = Patch::Merge(json!({"metadata": {"labels": {NODE_LABEL: label}}}));
            let params = PatchParams::default();
            let call = api.patch_metadata(&node, &params, &patch);
            let result =
                tokio::time::timeout(CALL, call).await.context("the API server did not answer in time");
            result.and_then(|result| Ok(result?)).with_context(|| format!("failed to label node {node}"))?;
            tracing::info!(
                node,
                gpu = label.as_deref().unwrap_or("none"),
                "a node was labelled with the GPUs that it sells"
            );
            changed += 1;
        }
        Ok(Report::changed(changed))
    }
}

/// The nodes whose label is not what their fresh record says, with what it should be; `None` for no label.
fn changes(nodes: &[Arc<Node>], offers: &Offers) -> BTreeMap<String, Option<String>> {
    nodes
        .iter()
        .filter(|node| offers.fresh.contains_key(&node.name_any()))
        .filter_map(|node| {
            let name = node.name_any();
            // The label names one pool. A node with several is told apart by their resource names alone.
            let wanted = match offers.pools.get(&name).map(|pools| &**pools) {
                Some([pool]) if pool.is_behind_its_own_name() => Some(pool.gpu.to_string()),
                _ => None,
            };
            (node.labels().get(NODE_LABEL) != wanted.as_ref()).then_some((name, wanted))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::offers::{Pool, resource_of};

    #[test]
    fn only_nodes_with_a_fresh_record_are_labelled_and_only_when_it_differs() {
        let node = |name: &str, label: Option<&str>| {
            let mut node = Node::default();
            node.metadata.name = Some(name.to_owned());
            node.metadata.labels = label.map(|label| [(NODE_LABEL.to_owned(), label.to_owned())].into());
            Arc::new(node)
        };
        let h100 = "h100-80Gi-sxm";
        let pool = |gpu: &str| {
            let gpu = gpu.parse().expect("a pool");
            Pool { resource: resource_of(&gpu), gpu, uuids: [].into() }
        };
        let record = |name: &str| {
            let record = json!({
                "version": 1, "node": name, "observed_at": 0, "period_s": 10, "devices": [], "allocations": [],
                "driver": {"state": "absent", "reason": ""}, "problems": [],
            });
            (name.to_owned(), Arc::new(serde_json::from_value(record).expect("a record")))
        };
        let offers = Offers {
            pools: [
                ("new".to_owned(), [pool(h100)].into()),
                ("same".to_owned(), [pool(h100)].into()),
                ("several".to_owned(), [pool(h100), pool("h100.mig-1g.10gb-10Gi-sxm")].into()),
            ]
            .into(),
            fresh: ["new", "same", "emptied", "plain", "several"].map(record).into(),
            ..Offers::default()
        };
        let nodes = [
            node("new", None),
            node("same", Some(h100)),
            node("emptied", Some(h100)),
            node("plain", None),
            node("several", Some(h100)),
            node("silent", Some(h100)),
        ];
        let expected = [
            ("emptied".to_owned(), None),
            ("new".to_owned(), Some(h100.to_owned())),
            ("several".to_owned(), None),
        ];
        assert_eq!(changes(&nodes, &offers), expected.into());
    }
}
