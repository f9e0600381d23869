//! `berth sdl render`: what a document becomes on a provider's cluster, to read.

mod yaml;

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use crate::exit::Ending;
use crate::output;
use crate::sdl::reading::Faithfulness;
use crate::sdl::{example, source};

/// Print the Kubernetes objects that a document becomes.
///
/// To read, not to apply: a provider renders for a lease that it holds, on nodes that it chose. Here the lease, the provider
/// and its cluster are examples, named at the top of the output, and every replica stands on one node with room for all.
/// What a provider cannot render it refuses as a whole, and so does this. Values of Secrets, among them the
/// environment, are not shown without --show-secrets.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Render {
    /// The document, in SDL; - is standard input.
    file: PathBuf,
    /// Only the objects of this placement.
    #[arg(long, value_name = "NAME")]
    placement: Option<String>,
    /// Only objects of this kind, such as Deployment.
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Show values of Secrets, too.
    #[arg(long)]
    show_secrets: bool,
    #[command(flatten)]
    faithfulness: Faithfulness,
    #[command(flatten)]
    cluster: example::Cluster,
}

const EXAMPLES: &str = "Examples:
  berth sdl render deploy.yaml
  berth sdl render deploy.yaml --kind NetworkPolicy";

pub(super) fn run(render: &Render) -> anyhow::Result<()> {
    let (_, deployment) = source::accepted(&render.file, render.faithfulness)?;
    let settings = render.cluster.settings();
    let groups = deployment.manifest.0.iter().zip(1..=u16::MAX);
    let wanted: Vec<_> = groups
        .filter(|(group, _)| render.placement.as_ref().is_none_or(|name| *name == group.name))
        .collect();
    if wanted.is_empty() {
        let names: Vec<&str> = deployment.manifest.0.iter().map(|group| group.name.as_str()).collect();
        let sentence = format!("there is no such placement: the document deploys to {}", names.join(", "));
        return Err(Ending::error(Ending::USAGE, sentence));
    }
    output::result(example::stated());
    for (group, gseq) in wanted {
        let lease = example::lease(group, gseq);
        let objects = manifests::objects::render(group, &lease, &settings).map_err(|error| {
            Ending::error(Ending::REFUSED, format!("placement {} cannot be rendered: {error}", group.name))
        })?;
        output::result(format_args!("# Placement {}: lease {}", group.name, lease.id));
        for object in objects.items {
            if render.kind.as_ref().is_some_and(|kind| !kind.eq_ignore_ascii_case(&object.kind)) {
                continue;
            }
            let mut body = object.body;
            if !render.show_secrets {
                hide(&mut body);
            }
            let waits = if object.waits { WAITS } else { "" };
            output::result(format_args!("---\n{waits}{}", yaml::text(&body).trim_end()));
        }
    }
    Ok(())
}

/// Replaces the values of a Secret, which is where all that a tenant wants hidden stands: environment and credentials.
fn hide(body: &mut Value) {
    if body["kind"] == "Secret" {
        for part in ["data", "stringData"] {
            for value in
                body.get_mut(part).and_then(Value::as_object_mut).into_iter().flat_map(|map| map.values_mut())
            {
                *value = Value::from(HIDDEN);
            }
        }
    }
}

/// Stands above what is applied last.
const WAITS: &str = "# Applied when the ports, addresses and secrets that it is told of are there.\n";

const HIDDEN: &str = "(not shown)";
