//! Ctrl-C: a bench that was started here ends in order before this program does.

use std::process;
use std::sync::Mutex;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

use crate::bench::Bench;
use crate::progress::say;

static BENCHES: Mutex<Vec<Bench>> = Mutex::new(Vec::new());

/// The code of a program that a person has interrupted.
const INTERRUPTED: i32 = 130;

/// From now on Ctrl-C, a closed terminal and a polite kill end the benches that this program started, then it.
///
/// # Errors
/// When signals cannot be listened to.
pub fn listen() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("failed to start listening for Ctrl-C")?;
    let (mut interrupt, mut terminate, mut hang_up) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hang_up.recv() => {}
            }
        });
        let benches = std::mem::take(&mut *BENCHES.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        for bench in benches {
            say("\ninterrupted; ending the bench");
            match bench.end() {
                Ok(()) => say("the bench is down; nothing of it remains"),
                Err(error) => say(format_args!("failed to end the bench: {error:#}")),
            }
        }
        process::exit(INTERRUPTED);
    });
    Ok(())
}

/// Remembers a bench that must not outlive this program.
pub(crate) fn watch(bench: &Bench) {
    BENCHES.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(bench.clone());
}

/// Forgets a bench that has ended, or that may live on.
pub(crate) fn forget(bench: &Bench) {
    let mut benches = BENCHES.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    benches.retain(|other| other.folder() != bench.folder());
}
