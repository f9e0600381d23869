//! The lease that objects are rendered for, and what the cluster has given it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use crate::decision::Placement;
use crate::manifest::Proto;
use crate::objects::short_hash;
use crate::order::{Address, LeaseId};

/// The lease that a group runs for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseContext {
    /// Its name.
    pub id: LeaseId,
    /// Who runs it.
    pub provider: Address,
    /// The nodes that its replicas were promised.
    pub placement: Placement,
    /// What the cluster has given it so far.
    pub given: Given,
    /// How many of its pods are to end on nodes that do not answer: nobody ends them, and they count as if they ran.
    pub left_behind: u32,
    /// What its tenant gave apart from the manifest: the values of secrets that the manifest only names.
    pub secrets: BTreeMap<String, SecretValue>,
}

/// The value of a secret. Debug shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretValue(pub Vec<u8>);

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What only the cluster can say of a lease, and containers are told: it is there once the Services are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Given {
    /// The nodes' port for each port of a service that is open to the world and not HTTP: by service, visible port and
    /// protocol.
    pub node_ports: BTreeMap<(String, u16, Proto), u16>,
    /// The leased addresses, by the number of their endpoint in the deployment.
    pub addresses: BTreeMap<u32, IpAddr>,
}

impl LeaseContext {
    /// A lease of which only the names matter: nothing can be rendered for it.
    #[must_use]
    pub fn unplaced(id: LeaseId, provider: Address) -> Self {
        Self {
            id,
            provider,
            placement: Placement::default(),
            given: Given::default(),
            left_behind: 0,
            secrets: BTreeMap::new(),
        }
    }

    /// 16 characters that stand for the lease in labels and names.
    #[must_use]
    pub fn short_id(&self) -> String {
        short_hash(&[&self.id.to_word().0, &self.provider.0])
    }

    /// The namespace that holds everything of the lease.
    #[must_use]
    pub fn namespace(&self) -> String {
        format!("berth-{}", self.short_id())
    }
}
