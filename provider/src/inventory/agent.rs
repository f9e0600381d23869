//! The node agent: publishes what NVML says as one record a node.

/// What the agent is told.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Publishes this node's GPUs until it is stopped.
///
/// # Errors
/// When the node or the cluster cannot be reached.
pub async fn run(_args: Args) -> anyhow::Result<()> {
    anyhow::bail!("this build cannot read GPUs yet")
}
