//! `berth sdl init`: a document to begin with.

use std::path::PathBuf;

use clap::Args;

use crate::exit::Ending;
use crate::output;
use crate::sdl::source;

/// A document to begin with, as it stands in the program.
struct Template {
    name: &'static str,
    /// What it is for, in a line.
    says: &'static str,
    text: &'static str,
}

const TEMPLATES: [Template; 5] = [
    Template {
        name: "web",
        says: "one service behind a host name, two replicas",
        text: include_str!("templates/web.yaml"),
    },
    Template {
        name: "services",
        says: "a site, its API and a cache that only the API reaches",
        text: include_str!("templates/services.yaml"),
    },
    Template {
        name: "database",
        says: "a database on a volume that outlives its container",
        text: include_str!("templates/database.yaml"),
    },
    Template {
        name: "gpu",
        says: "a language model on one GPU of several models that will do",
        text: include_str!("templates/gpu.yaml"),
    },
    Template {
        name: "game",
        says: "UDP on a public IP address of its own",
        text: include_str!("templates/game.yaml"),
    },
];

/// Begin a document from a template.
///
/// Without a template's name, lists the templates. With one, writes it to deploy.yaml, or where --file says; a file that is
/// there is never overwritten without --force. Every template is accepted as it stands: change the image, and go.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Init {
    /// The template; left out, the templates are listed.
    template: Option<String>,
    /// Where to write it; - is standard output.
    #[arg(long, short, value_name = "FILE", default_value = "deploy.yaml")]
    file: PathBuf,
    /// Overwrite the file if it is there.
    #[arg(long)]
    force: bool,
}

const EXAMPLES: &str = "Examples:
  berth sdl init                       lists the templates
  berth sdl init web                   writes deploy.yaml
  berth sdl init gpu --file llm.yaml   writes llm.yaml";

pub(super) fn run(init: &Init) -> anyhow::Result<()> {
    let Some(name) = &init.template else {
        let rows =
            TEMPLATES.iter().map(|Template { name, says, .. }| vec![(*name).to_owned(), (*says).to_owned()]);
        output::table(&["TEMPLATE", "WHAT IT IS"], rows);
        output::progress("write one to deploy.yaml with: berth sdl init TEMPLATE");
        return Ok(());
    };
    let Some(template) = TEMPLATES.iter().find(|template| template.name == name) else {
        let names: Vec<&str> = TEMPLATES.iter().map(|template| template.name).collect();
        let sentence = format!("there is no template {name}: choose one of {}", names.join(", "));
        return Err(Ending::error(Ending::USAGE, sentence));
    };
    source::write_new(&init.file, template.text, init.force)?;
    if !source::is_stream(&init.file) {
        let file = init.file.display();
        output::progress(format_args!(
            "{file} is written. Change it, check it with `berth sdl validate {file}`, and run it with `berth up {file}`."
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_accepted_without_a_warning() {
        for Template { name, text, .. } in &TEMPLATES {
            let deployment =
                manifests::parse(text).unwrap_or_else(|problems| panic!("{name}: {}", problems[0]));
            assert_eq!(deployment.warnings, [], "{name}");
            for group in &deployment.groups {
                assert!(group.max_rate_down().is_ok(), "{name} can be paid for without an exchange rate");
            }
        }
    }
}
