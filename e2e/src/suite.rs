//! `cargo e2e test`: every check of the house, one after the other, and one line of totals at the end.

mod parts;
mod tally;

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::bench::{self, Bench, Holds, Life, Running};
use crate::cache::Cache;
use crate::progress::{Progress, say};
use crate::report::Timeline;
use crate::tools::{Purpose, Tools};
use crate::workspace;
use parts::{Part, Work};
use tally::Tally;

/// Runs the parts whose name holds one of `filters`, or all, and ends well if nothing failed. A `long` run lets chance try
/// ten times as much.
///
/// # Errors
/// When the tools or the bench cannot be had.
pub fn run(cache: &Cache, filters: &[String], long: bool) -> Result<ExitCode> {
    let chosen = parts::chosen(filters);
    if chosen.is_empty() {
        let names: Vec<&str> = parts::all().iter().map(|part| part.name).collect();
        bail!("no part is called like {}: the parts are {}", filters.join(" or "), names.join(", "));
    }
    if chosen.iter().any(|part| part.work.needs_root()) {
        bench::ensure_root()?;
    }
    let tools = Tools::ensure(cache, Purpose::Everything)?;
    let mut suite = Suite { cache, tools, long, shared: None };
    let mut total = Tally::default();
    for part in &chosen {
        total += suite.run(part)?;
    }
    if let Some(bench) = suite.shared {
        bench.end()?;
    }
    say(format_args!("\n{total}"));
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Suite<'a> {
    cache: &'a Cache,
    tools: Tools,
    long: bool,
    /// The bench that stories share, from the first of them on.
    shared: Option<Running>,
}

impl Suite<'_> {
    /// Runs one part and tells what came of it; a part that fails shows what it wrote.
    fn run(&mut self, part: &Part) -> Result<Tally> {
        if part.work == Work::StoryOnTheBench && self.shared.is_none() {
            self.shared = Some(self.start_bench()?);
        }
        let progress = Progress::start(part.name);
        let start = Instant::now();
        let outcome = self.output_of(part);
        let (tally, output) = match outcome {
            Ok((ended_well, output)) => (part.tally(ended_well, &output), output),
            Err(error) => (Tally { failed: 1, ..Tally::default() }, format!("{error:#}")),
        };
        progress.done(&if tally.not_run { "NOT RUN".to_owned() } else { tally.to_string() });
        if tally.failed > 0 {
            say(format_args!(
                "--- {} failed after {:.0?}; it said:\n{}\n---",
                part.name,
                start.elapsed(),
                output.trim()
            ));
            self.keep_logs(part)?;
        } else {
            for line in tally::spoken(&output) {
                say(format_args!("    {line}"));
            }
        }
        Ok(tally)
    }

    /// Copies what the parts of the bench wrote to where it outlives the bench.
    fn keep_logs(&self, part: &Part) -> Result<()> {
        let (Work::StoryOnTheBench, Some(bench)) = (part.work, &self.shared) else { return Ok(()) };
        let to = workspace::binaries()?.join("e2e-logs").join(part.name);
        copy_logs(bench.bench().folder(), &to).context("failed to keep the logs of the bench")?;
        say(format_args!("the logs of the bench were kept in {}", to.display()));
        Ok(())
    }

    fn start_bench(&self) -> Result<Running> {
        workspace::build(true)?;
        let bench = Bench::named(self.cache, &format!("test-{}", std::process::id()))?;
        let mut timeline = Timeline::start();
        let running = bench.start(self.cache, Life::WithThisProcess, Holds::Parts, &mut timeline)?;
        timeline.end("the bench is up");
        Ok(running)
    }

    /// Runs the part's commands until one fails; answers whether all ended well, and everything they wrote.
    fn output_of(&self, part: &Part) -> Result<(bool, String)> {
        let log = tempfile::NamedTempFile::new().context("failed to make a file for the output")?;
        let mut ended_well = true;
        for mut command in self.commands(part)? {
            let file =
                fs::File::options().append(true).open(log.path()).context("failed to open the output")?;
            command.stdin(std::process::Stdio::null()).stdout(file.try_clone()?).stderr(file);
            let status =
                command.status().with_context(|| format!("failed to start {:?}", command.get_program()))?;
            ended_well = status.success();
            if !ended_well {
                break;
            }
        }
        let output = fs::read(log.path()).context("failed to read the output")?;
        Ok((ended_well, String::from_utf8_lossy(&output).into_owned()))
    }

    fn commands(&self, part: &Part) -> Result<Vec<Command>> {
        match part.work {
            Work::Check => part.check(&self.tools, self.long),
            Work::StoryOnTheBench => {
                let program = parts::test_program(part.name)?;
                let bench = self.shared.as_ref().context("no bench is up")?.bench();
                let mut command = bench.command(&self.tools, program)?;
                command.args(["--ignored", "--test-threads=1", "--nocapture"]);
                if self.long {
                    command.env("BERTH_MACHINES", "1000");
                }
                Ok(vec![command])
            }
            Work::CheckWithTools | Work::StoryAboutBenches => {
                let mut command = Command::new(parts::test_program(part.name)?);
                command.current_dir(workspace::root().join("e2e"));
                command.args(["--ignored", "--test-threads=1", "--nocapture"]);
                Ok(vec![command])
            }
        }
    }
}

/// Copies the log files in these folders of a bench, and in those of its stories.
fn copy_logs(bench: &Path, to: &Path) -> Result<()> {
    let stories =
        fs::read_dir(bench.join("stories")).into_iter().flatten().flatten().map(|entry| entry.path());
    for folder in stories.chain([bench.join("logs")]) {
        let place = to.join(folder.file_name().unwrap_or_default());
        fs::create_dir_all(&place)?;
        for entry in fs::read_dir(&folder)? {
            let file = entry?.path();
            if file.extension().is_some_and(|extension| extension == "log") {
                fs::copy(&file, place.join(file.file_name().unwrap_or_default()))?;
            }
        }
    }
    Ok(())
}
