//! The provider of a story at work, wherever it runs.

use anyhow::Result;
use manifests::order::OrderId;

use super::provider::Provider;
use super::release::{self, Release};
use super::world::World;
use crate::access::Access;
use crate::process::Process;
use crate::report::Timeline;

/// Where a provider runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// As processes of the node.
    Beside,
    /// In pods of the cluster that it sells, installed by the chart.
    InCluster,
}

/// A provider as processes.
pub struct Beside {
    provider: Provider,
    daemon: Process,
    /// Where the node's GPUs can be read.
    agent: Option<Process>,
}

/// A provider that trades.
pub enum Seller {
    /// Its processes.
    Beside(Box<Beside>),
    /// A release of the chart.
    InCluster(Release),
}

impl Place {
    /// What a world has to know of the place before it registers the provider.
    ///
    /// # Errors
    /// When the node has no address.
    pub fn access(self, mut access: Access) -> Result<Access> {
        if self == Self::InCluster {
            release::way_to_gateway(&mut access)?;
        }
        Ok(access)
    }

    /// Puts the provider of a world to work.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn start(self, world: &World, timeline: &mut Timeline) -> Result<Seller> {
        match self {
            Self::Beside => {
                let provider = world.provider().await?;
                let agent = if world.access.is_a_bench() { Some(provider.agent()?) } else { None };
                let daemon = provider.run().await?;
                Ok(Seller::Beside(Box::new(Beside { provider, daemon, agent })))
            }
            Self::InCluster => {
                let release = Release::prepare(world, &format!("berth-{}", world.name())).await?;
                timeline.step("the image is in the registry, the operator's secrets are in the cluster");
                let ready = release.install().await?;
                timeline.step(format_args!(
                    "helm install berth charts/provider: Ready after {ready:.1?}, and the preflight finds nothing wrong"
                ));
                Ok(Seller::InCluster(release))
            }
        }
    }
}

impl Seller {
    /// What the provider says about its decision on an order.
    ///
    /// # Errors
    /// When it says nothing.
    pub async fn explain(&self, order: OrderId) -> Result<String> {
        match self {
            Self::Beside(beside) => beside.provider.explain(order).await,
            Self::InCluster(release) => release.explain(order).await,
        }
    }

    /// An error if it has given up.
    ///
    /// # Errors
    /// When a process of it has ended.
    pub fn still_works(&mut self) -> Result<()> {
        match self {
            Self::Beside(beside) => {
                beside.daemon.still_runs()?;
                beside.agent.as_mut().map_or(Ok(()), Process::still_runs)
            }
            // Kubernetes looks after it.
            Self::InCluster(_) => Ok(()),
        }
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn retire(self) -> Result<()> {
        match self {
            Self::Beside(mut beside) => {
                beside.daemon.kill().await?;
                match &mut beside.agent {
                    Some(agent) => agent.kill().await,
                    None => Ok(()),
                }
            }
            Self::InCluster(release) => release.uninstall().await,
        }
    }
}
