//! Running the binary in a folder of its own.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A folder with documents, and `berth sdl` run in it.
pub(crate) struct Folder(tempfile::TempDir);

/// How a run ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let folder = Self::new();
        for (name, text) in files {
            folder.write(name, text);
        }
        folder
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), text).expect("written");
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("readable")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn sdl(&self, arguments: &[&str]) -> Ended {
        self.sdl_reading(arguments, "")
    }

    /// Runs with something on standard input. No home, no context: these verbs need none.
    pub(crate) fn sdl_reading(&self, arguments: &[&str], input: &str) -> Ended {
        let mut child = Command::new(env!("CARGO_BIN_EXE_berth"))
            .arg("sdl")
            .args(arguments)
            .current_dir(self.0.path())
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("berth starts");
        // Who does not read it closes it.
        let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
        let output = child.wait_with_output().expect("berth ends");
        Ended {
            code: output.status.code().expect("berth ends by itself"),
            out: String::from_utf8(output.stdout).expect("text"),
            err: String::from_utf8(output.stderr).expect("text"),
        }
    }
}

/// A part of the collection of documents that lies beside the workspace, if it is there.
pub(crate) fn fixtures(part: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures").join(part);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("LEFT OUT: {} is not there, so nothing of it was tested", folder.display());
    None
}

/// The documents of a folder of the collection with the answers expected to them, by name.
pub(crate) fn expected(folder: &Path) -> Vec<(PathBuf, serde_json::Value)> {
    let mut documents: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml"))
        .collect();
    documents.sort();
    let answer = |path: &PathBuf| {
        let name = format!("{}.json", path.file_name().expect("a file").to_string_lossy());
        let text = std::fs::read_to_string(folder.join("expected").join(name)).expect("an answer");
        serde_json::from_str(&text).expect("JSON")
    };
    documents.into_iter().map(|path| (path.clone(), answer(&path))).collect()
}
