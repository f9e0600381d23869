//! A store that has followed a chain, with leases as their tenants and this provider agreed on them.

use std::sync::atomic::{AtomicU64, Ordering};

use manifests::decision::{Decision, GpuTake, Placement, Replica, Takes};
use manifests::group::{OrderSpec, spec_hash};
use manifests::manifest::Manifest;
use manifests::money::{Amount, Rate};
use manifests::objects::{GatewayRef, LeaseContext, Settings};
use manifests::order::{
    Address, BlockRef, CloseReason, Fact, Hash, Lease, LeaseId, LogRef, Order, OrderKind,
};
use provider::inventory::{self, storage::Sold};
use provider::store::{Advance, Identity, NewDecision, NewInputs, Part, Store};
use serde_json::{Value, json};

pub(crate) const PROVIDER: Address = Address([0xbb; 20]);
pub(crate) const IDENTITY: Identity =
    Identity { chain_id: 31337, market: Address([0xcc; 20]), provider: PROVIDER };
pub(crate) const NODE: &str = "node-a";
pub(crate) const POOL: &str = "h100-80Gi-sxm";

/// A document with one service; `count` replicas, `gpus` devices each, `extra` lines below the service.
pub(crate) fn document(count: u32, gpus: u32, extra: &str) -> String {
    let gpu = match gpus {
        0 => String::new(),
        _ => {
            format!("\n        gpu: {{units: {gpus}, attributes: {{vendor: {{nvidia: [{{model: h100}}]}}}}}}")
        }
    };
    format!(
        r#"
version: "2.0"
services:
  web:
    image: example/web:1
    env: ["PASSWORD=canary-hunter2"]
    expose: [{{port: 8080, as: 80, accept: [], to: [{{global: true}}]}}]
{extra}
profiles:
  compute:
    web:
      resources:
        cpu: {{units: 500m}}
        memory: {{size: 512Mi}}
        storage: [{{size: 1Gi}}]{gpu}
  placement:
    here:
      pricing:
        web: {{denom: uact, amount: 1000}}
deployment:
  web:
    here: {{profile: web, count: {count}}}
"#
    )
}

/// What a document becomes: the manifest, and the spec that is ordered.
pub(crate) fn parsed(document: &str) -> (Manifest, OrderSpec) {
    let deployment = manifests::parse(document).unwrap_or_else(|problems| panic!("{problems:?}"));
    let spec = deployment.groups.first().expect("one group").to_order_spec();
    (deployment.manifest, spec)
}

/// The chain as the store followed it.
pub(crate) struct Stage {
    pub(crate) store: Store,
    height: AtomicU64,
    log: AtomicU64,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let stage = Self::bare().await;
        stage.mine(0, vec![]).await;
        stage
    }

    /// A store that has followed nothing.
    pub(crate) async fn bare() -> Self {
        let store = Store::fresh().await.expect("opens");
        Self { store, height: AtomicU64::new(100), log: AtomicU64::new(0) }
    }

    /// Mines `blocks` blocks, the first of them with these facts.
    pub(crate) async fn mine(&self, blocks: u64, facts: Vec<Fact>) {
        let first = self.height.load(Ordering::SeqCst) + 1;
        let events = facts
            .into_iter()
            .map(|fact| {
                let log_index = self.log.fetch_add(1, Ordering::SeqCst);
                (LogRef { block: first, block_hash: hash(first), log_index }, fact)
            })
            .collect();
        let block = |number| BlockRef {
            number,
            hash: hash(number),
            parent: hash(number - 1),
            timestamp: 1_800_000_000 + number,
        };
        let blocks = (first..=first + blocks).map(block).collect();
        self.store.advance(&Advance { ancestor: None, blocks, events }).await.expect("advances");
        self.height.store(first + 1, Ordering::SeqCst);
    }

    /// The last `count` blocks never were; another one stands in place of the first of them.
    pub(crate) async fn reorganise(&self, count: u64) {
        let head = self.height.load(Ordering::SeqCst);
        let (ancestor, number) = (head - count, head - count + 1);
        let fork = |number: u64| Hash([u8::try_from(number % 251).expect("small"); 32]);
        let block = BlockRef {
            number,
            hash: fork(number),
            parent: hash(ancestor),
            timestamp: 1_800_000_000 + number,
        };
        let step = Advance { ancestor: Some(ancestor), blocks: vec![block], events: vec![] };
        self.store.advance(&step).await.expect("advances");
        self.height.store(number, Ordering::SeqCst);
    }

    /// A lease of this tenant, won on this spec, for a deployment that has committed to this manifest.
    pub(crate) async fn lease(
        &self,
        tenant: Address,
        dseq: u64,
        manifest: &Manifest,
        spec: &OrderSpec,
    ) -> LeaseId {
        self.lease_of(PROVIDER, tenant, dseq, manifest, spec).await
    }

    /// The same with another provider.
    pub(crate) async fn lease_of(
        &self,
        provider: Address,
        tenant: Address,
        dseq: u64,
        manifest: &Manifest,
        spec: &OrderSpec,
    ) -> LeaseId {
        let id = self.order(tenant, dseq, manifest, spec).await;
        let replicas = spec.resources.iter().flat_map(|unit| {
            let gpus = unit.resource.gpu.units.0;
            let takes = Takes {
                cpu_milli: unit.resource.cpu.units.0,
                memory_bytes: unit.resource.memory.size.0,
                ephemeral_bytes: unit.resource.storage.iter().map(|volume| volume.size.0).sum(),
                gpu: (gpus > 0).then(|| GpuTake { pool: POOL.to_owned(), count: gpus, resource: None }),
                ..Takes::default()
            };
            let replica = Replica { unit: unit.resource.id, node: NODE.to_owned(), takes };
            std::iter::repeat_n(replica, unit.count as usize)
        });
        let placement = Placement { replicas: replicas.collect(), ..Placement::default() };
        let bytes = spec.to_bytes().expect("short");
        let nothing = Part::new(&json!({})).expect("written");
        let decision = NewDecision {
            order: id,
            spec_hash: spec_hash(&bytes),
            decided_at: 1,
            decision: Decision::Bid {
                rate: Rate::ZERO,
                floor: Rate::ZERO,
                expires_at: 0,
                items: vec![],
                placement,
                warnings: vec![],
            },
            inputs: NewInputs::new(nothing.clone(), nothing, &json!({})).expect("written"),
            intent: None,
        };
        let last = self.store.promised().await.expect("read").last;
        self.store.put_decisions(&[decision], last).await.expect("stored");
        self.store.lease_reservation(id, 2).await.expect("leased");
        let lease = Lease {
            id,
            provider,
            rate: Rate::ZERO,
            started_at: 1_800_000_000,
            fee_bps: 0,
            funded_until: u64::MAX >> 1,
        };
        self.mine(1, vec![Fact::LeaseCreated(lease)]).await;
        id
    }

    /// An order on the book.
    pub(crate) async fn order(
        &self,
        tenant: Address,
        dseq: u64,
        manifest: &Manifest,
        spec: &OrderSpec,
    ) -> LeaseId {
        let id = LeaseId { tenant, dseq, gseq: 1, oseq: 1 };
        let bytes = spec.to_bytes().expect("short");
        let order = Order {
            id,
            class: Hash([0; 32]),
            spec_hash: spec_hash(&bytes),
            max_rate: Rate::MAX,
            expires_at: u64::MAX >> 1,
            min_reclaim: 0,
            req_bits: 0,
            kind: OrderKind::Service,
            award: None,
            spec: bytes,
        };
        let created = Fact::DeploymentCreated { account: id.account(), manifest_hash: manifest.digest() };
        self.mine(0, vec![created, Fact::OrderCreated(order)]).await;
        id
    }

    /// The tenant commits to another manifest.
    pub(crate) async fn commit(&self, id: LeaseId, manifest: &Manifest) {
        let changed = Fact::ManifestChanged { account: id.account(), manifest_hash: manifest.digest() };
        self.mine(0, vec![changed]).await;
    }

    /// The lease ends, with this many blocks above.
    pub(crate) async fn close(&self, id: LeaseId, blocks: u64) {
        let closed = Fact::LeaseClosed {
            lease: id,
            provider: PROVIDER,
            reason: CloseReason::TENANT,
            ended_at: 1_800_000_500,
            penalty: Amount::ZERO,
        };
        self.mine(blocks, vec![closed]).await;
    }

    /// The tenant's manifest has come.
    pub(crate) async fn send(&self, id: LeaseId, manifest: &Manifest) {
        self.store.put_manifest(id, manifest.digest(), &manifest.to_json(), 5).await.expect("stored");
    }
}

fn hash(number: u64) -> Hash {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    Hash(bytes)
}

/// What the cluster is like.
pub(crate) fn cluster() -> Settings {
    let gateway = GatewayRef { name: "shared".to_owned(), namespace: "ingress".to_owned(), section: None };
    Settings::of("apps.provider.test", gateway, "provider.test")
}

/// Where the API server of the small cluster says that it answers.
pub(crate) const API_SERVERS: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";

/// That it answers at these addresses.
pub(crate) fn answers_at(addresses: &[&str]) -> Value {
    json!({
        "metadata": {"namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": "IPv4",
        "endpoints": addresses.iter().map(|address| json!({"addresses": [address]})).collect::<Vec<_>>(),
        "ports": [{"port": 6443}],
    })
}

/// A StorageClass.
pub(crate) fn storage_class(grows: bool) -> Value {
    json!({"metadata": {}, "provisioner": "example.test/volumes", "allowVolumeExpansion": grows})
}

/// Where the StorageClass of this name is.
pub(crate) fn storage_class_path(name: &str) -> String {
    format!("/apis/storage.k8s.io/v1/storageclasses/{name}")
}

/// What is sold: volumes of class `default` from the StorageClass `fast`.
pub(crate) fn sold() -> inventory::Settings {
    let fast = Sold { name: "fast".to_owned(), limit_bytes: 1 << 40, id_mapped: false };
    inventory::Settings {
        namespace: "berth".to_owned(),
        storage: [("default".to_owned(), fast)].into(),
        ..inventory::Settings::default()
    }
}

/// A document with one service that keeps a persistent volume of this size and these attributes.
pub(crate) fn document_with_volume(size: &str, extra: &str) -> String {
    document(1, 0, &format!("    params: {{storage: {{data: {{mount: /data}}}}}}\n{extra}")).replace(
        "storage: [{size: 1Gi}]",
        &format!("storage: [{{size: 1Gi}}, {{name: data, size: {size}, attributes: {{persistent: true}}}}]"),
    )
}

/// How the objects of a lease are named.
pub(crate) fn named(id: LeaseId) -> LeaseContext {
    LeaseContext::unplaced(id, PROVIDER)
}
