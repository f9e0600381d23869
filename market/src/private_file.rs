//! Who may read a file with a secret.

use std::io;
use std::path::Path;

/// The file's mode, if others may read it than those it is for: its owner, or the group of a file that is root's, as secrets are
/// that Kubernetes mounts for a process that is not root.
///
/// # Errors
/// When the file cannot be looked at.
pub fn open_to_others(path: &Path) -> io::Result<Option<u32>> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let about = std::fs::metadata(path)?;
        let mode = about.mode() & 0o777;
        Ok(is_open(mode, about.uid()).then_some(mode))
    }
    #[cfg(not(unix))]
    {
        std::fs::metadata(path).map(|_| None)
    }
}

#[cfg(unix)]
fn is_open(mode: u32, owner: u32) -> bool {
    const ROOT: u32 = 0;
    let allowed = if owner == ROOT { 0o740 } else { 0o700 };
    mode & !allowed != 0
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_its_owners_alone_unless_root_gives_it_to_a_group_to_read() {
        for (mode, owner, open) in [
            (0o600, 65_532, false),
            (0o400, 0, false),
            (0o640, 65_532, true),
            (0o440, 65_532, true),
            (0o440, 0, false),
            (0o640, 0, false),
            (0o660, 0, true),
            (0o444, 0, true),
            (0o604, 65_532, true),
        ] {
            assert_eq!(is_open(mode, owner), open, "mode {mode:o} of user {owner}");
        }
    }

    #[test]
    fn the_mode_is_told_of_a_file_that_everybody_may_read() {
        use std::os::unix::fs::PermissionsExt as _;
        let file = tempfile::NamedTempFile::new().unwrap();
        let set =
            |mode| std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        set(0o600);
        assert_eq!(open_to_others(file.path()).unwrap(), None);
        set(0o644);
        assert_eq!(open_to_others(file.path()).unwrap(), Some(0o644));
    }
}
