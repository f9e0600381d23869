//! Where documents come from and go to: files, or the standard streams under the name `-`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use manifests::{Deployment, MAX_DOCUMENT_BYTES};

use crate::exit::Ending;
use crate::output;
use crate::sdl::reading::Faithfulness;
use crate::sdl::report;

/// The name of standard input and output.
const STREAM: &str = "-";

/// Reads a file, or standard input for `-`. Not more than is needed to see that it is too long for a document.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let most = MAX_DOCUMENT_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    let outcome = if is_stream(path) {
        io::stdin().lock().take(most).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes))
    };
    match outcome {
        Ok(_) => Ok(bytes),
        Err(error) => {
            Err(Ending::error(Ending::USAGE, format!("{} cannot be read: {error}", path.display())))
        }
    }
}

/// Reads a document that the verb can do nothing without; its problems are shown where it is refused.
pub(super) fn accepted(path: &Path, faithfulness: Faithfulness) -> anyhow::Result<(Vec<u8>, Deployment)> {
    let bytes = read(path)?;
    match faithfulness.read(&bytes) {
        Ok(deployment) => Ok((bytes, deployment)),
        Err(problems) => {
            output::progress(report::problems(&name(path), &bytes, &problems).trim_end());
            Err(Ending::error(Ending::REFUSED, format!("{} is refused", name(path))))
        }
    }
}

/// What a file is called in what we say.
pub(super) fn name(path: &Path) -> String {
    if is_stream(path) { "standard input".to_owned() } else { path.display().to_string() }
}

/// Writes a new file, or standard output for `-`. A file that is there stays as it is unless it is forced.
pub(super) fn write_new(path: &Path, text: &str, force: bool) -> anyhow::Result<()> {
    if is_stream(path) {
        output::result(text.trim_end_matches('\n'));
        return Ok(());
    }
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        let sentence = match error.kind() {
            io::ErrorKind::AlreadyExists => format!(
                "{} is there already and stays as it is: name another file with --file, or overwrite it with --force",
                path.display()
            ),
            _ => format!("{} cannot be written: {error}", path.display()),
        };
        Ending::error(Ending::USAGE, sentence)
    })
}

/// Puts another text in a file's place at once: who reads it sees the old one or the new one.
pub(super) fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let failed = |error: io::Error| {
        Ending::error(Ending::REFUSED, format!("{} cannot be written: {error}", path.display()))
    };
    // A link stays one, and what it leads to is replaced.
    let path = fs::canonicalize(path).map_err(failed)?;
    let beside = path.with_file_name(format!(
        ".{}.{}.new",
        path.file_name().unwrap_or_default().to_string_lossy(),
        std::process::id()
    ));
    let write = || {
        let permissions = fs::metadata(&path)?.permissions();
        let mut file = OpenOptions::new().write(true).create_new(true).open(&beside)?;
        file.set_permissions(permissions)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, &path)
    };
    write().map_err(|error| {
        // Nothing is left behind; if that fails too, the first error says more.
        let _ = fs::remove_file(&beside);
        failed(error)
    })
}

pub(super) fn is_stream(path: &Path) -> bool {
    path.as_os_str() == STREAM
}
