//! Runs a long command, shows its lines as they come, and keeps the last ones for the error.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc;

use anyhow::{Context, Result, bail};

const KEPT_LINES: usize = 25;

/// Runs `command` to its end, calling `on_line` for every line of its output and errors.
///
/// # Errors
/// When the command cannot be started or fails; the error then holds its last lines, and names a full disk.
pub(super) fn run(what: &str, command: &mut Command, mut on_line: impl FnMut(&str)) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to start {program} to {what}"))?;
    let (lines, received) = mpsc::sync_channel::<String>(64);
    let forward = |stream: Box<dyn Read + Send>, lines: mpsc::SyncSender<String>| {
        std::thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                if lines.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                    return;
                }
            }
        });
    };
    forward(Box::new(child.stdout.take().expect("the output was asked for")), lines.clone());
    forward(Box::new(child.stderr.take().expect("the errors were asked for")), lines);

    let mut tail = VecDeque::with_capacity(KEPT_LINES);
    for line in received {
        on_line(&line);
        if tail.len() == KEPT_LINES {
            tail.pop_front();
        }
        tail.push_back(line);
    }
    let status = child.wait().with_context(|| format!("failed to wait for {program}"))?;
    if status.success() {
        return Ok(());
    }
    let tail: Vec<String> = tail.into();
    if tail
        .iter()
        .any(|line| line.contains("No space left on device") || line.contains("no space left on device"))
    {
        bail!(
            "failed to {what}: the disk is full. Make room (about 15 GiB are needed the first time) and run the \
               same command again; what was finished stays"
        );
    }
    bail!("failed to {what}: {program} ended with {status}. Its last words:\n{}", tail.join("\n"));
}
