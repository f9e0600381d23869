//! The bench's own network: a node and a LAN, joined by one cable, with no route to anywhere else.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::addresses::{LAN, LAN_NAMESPACE, METADATA_SERVICE, NODE};

/// Where Contour makes Envoy listen for the gateway's port 80.
const ENVOY_HTTP: u16 = 8080;

/// Makes the cable and the addresses. Only for a process that is in a network namespace of its own.
pub(crate) fn lay_out() -> Result<()> {
    feed(
        "ip",
        &["-batch", "-"],
        &format!(
            "link set lo up\n\
             netns add {LAN_NAMESPACE}\n\
             link add node0 type veth peer name lan0 netns {LAN_NAMESPACE}\n\
             addr add {NODE}/24 dev node0\n\
             link set node0 up\n\
             route add default via {LAN}\n"
        ),
    )?;
    feed(
        "ip",
        &["-netns", LAN_NAMESPACE, "-batch", "-"],
        &format!(
            "link set lo up\n\
             addr add {LAN}/24 dev lan0\n\
             addr add {METADATA_SERVICE}/32 dev lan0\n\
             link set lan0 up\n\
             route add default via {NODE}\n"
        ),
    )?;
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("failed to let the node forward packets")?;
    let rule = format!("ip daddr {NODE} tcp dport 80 dnat to {NODE}:{ENVOY_HTTP}");
    feed(
        "nft",
        &["-f", "-"],
        &format!(
            "table ip gateway {{\n\
             chain arriving {{ type nat hook prerouting priority -150; {rule}; }}\n\
             chain leaving {{ type nat hook output priority -150; {rule}; }}\n\
             }}\n"
        ),
    )
}

fn feed(program: &str, arguments: &[&str], text: &str) -> Result<()> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to start {program}"))?;
    child.stdin.take().expect("the input was asked for").write_all(text.as_bytes())?;
    let output = child.wait_with_output().with_context(|| format!("failed to wait for {program}"))?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{program} could not lay out the network of the bench: {}",
        words.trim()
    );
    Ok(())
}
