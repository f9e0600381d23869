//! A cgroup of its own for each bench, in every hierarchy that is mounted.
//!
//! The first process of a bench moves into it and then makes it the root of its cgroup namespace, so that whatever
//! the kubelet and the container runtime make lies below it, and one walk removes all of it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};

const CPUSET_FILES: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// A mounted cgroup hierarchy.
#[derive(Clone, Debug)]
pub(crate) struct Hierarchy {
    folder: PathBuf,
    version: Version,
}

#[derive(Clone, Debug, PartialEq)]
enum Version {
    /// With the controllers or the name that it was mounted with.
    One(String),
    Two,
}

/// All hierarchies that this process sees.
pub(crate) fn hierarchies() -> Result<Vec<Hierarchy>> {
    let text = fs::read_to_string("/proc/self/mountinfo").context("failed to read the table of mounts")?;
    Ok(text.lines().filter_map(parse_mount).collect())
}

fn parse_mount(line: &str) -> Option<Hierarchy> {
    let (left, right) = line.split_once(" - ")?;
    let folder = PathBuf::from(left.split(' ').nth(4)?);
    let mut right = right.split(' ');
    let version = match right.next()? {
        "cgroup2" => Version::Two,
        "cgroup" => {
            let options = right.nth(1)?.split(',').filter(|option| !matches!(*option, "rw" | "ro" | "xattr"));
            Version::One(options.collect::<Vec<_>>().join(","))
        }
        _ => return None,
    };
    Some(Hierarchy { folder, version })
}

/// Makes the cgroup `id` in every hierarchy and moves this process into it.
pub(crate) fn enter(id: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        let parent = &hierarchy.folder;
        let own = parent.join(id);
        if hierarchy.version == Version::Two {
            hand_down_controllers(parent)?;
        }
        make(&own)?;
        for file in CPUSET_FILES {
            // A fresh cpuset of the first version is empty, and an empty one takes no process.
            if parent.join(file).exists()
                && fs::read_to_string(own.join(file)).is_ok_and(|text| text.trim().is_empty())
            {
                let all =
                    fs::read_to_string(parent.join(file)).context("failed to read the parent's cpuset")?;
                fs::write(own.join(file), all.trim()).context("failed to fill the cpuset of the bench")?;
            }
        }
        fs::write(own.join("cgroup.procs"), std::process::id().to_string())
            .with_context(|| format!("failed to move into the cgroup {}", own.display()))?;
    }
    Ok(())
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("failed to make the cgroup {}", folder.display()))
}

/// In the second version a parent hands its controllers down by name, and only what it has itself.
fn hand_down_controllers(parent: &Path) -> Result<()> {
    let has = fs::read_to_string(parent.join("cgroup.controllers"))
        .with_context(|| format!("failed to read the controllers of {}", parent.display()))?;
    for controller in has.split_whitespace() {
        // One that cannot be handed down is one that the bench does without; the kubelet names it if it needs it.
        let _ = fs::write(parent.join("cgroup.subtree_control"), format!("+{controller}"));
    }
    Ok(())
}

/// Mounts the hierarchies anew, so that each shows the cgroup of the bench as its root. Only for a process that is
/// in namespaces of its own; `seen` are the hierarchies as they were before `/sys` was mounted anew.
pub(crate) fn mount_own(seen: &[Hierarchy], links: &[(PathBuf, PathBuf)]) -> Result<()> {
    let top = Path::new("/sys/fs/cgroup");
    if !seen.iter().any(|hierarchy| hierarchy.folder == top) {
        let nothing = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("cgroup"), top, Some("tmpfs"), nothing, Some("mode=755"))
            .context("failed to mount a tmpfs")?;
    }
    for hierarchy in seen.iter().filter(|hierarchy| hierarchy.folder.starts_with(top)) {
        make(&hierarchy.folder)?;
        let (kind, options) = match &hierarchy.version {
            Version::One(options) => ("cgroup", Some(options.as_str())),
            Version::Two => ("cgroup2", None),
        };
        mount(Some("cgroup"), &hierarchy.folder, Some(kind), MsFlags::empty(), options)
            .with_context(|| format!("failed to mount the cgroups of {}", hierarchy.folder.display()))?;
        if hierarchy.folder == top && hierarchy.version == Version::Two {
            leave_the_root(top)?;
        }
    }
    for (link, target) in links {
        std::os::unix::fs::symlink(target, link)
            .with_context(|| format!("failed to link {}", link.display()))?;
    }
    Ok(())
}

/// The symbolic links that name one hierarchy by each of its controllers.
pub(crate) fn links() -> Result<Vec<(PathBuf, PathBuf)>> {
    let mut links = Vec::new();
    for entry in fs::read_dir("/sys/fs/cgroup").context("failed to list the cgroup hierarchies")? {
        let entry = entry?;
        if entry.file_type()?.is_symlink() {
            links.push((entry.path(), fs::read_link(entry.path())?));
        }
    }
    Ok(links)
}

/// In the second version only a cgroup without processes of its own may hand controllers down: those of the bench
/// move into a leaf beside the kubelet's.
fn leave_the_root(root: &Path) -> Result<()> {
    let leaf = root.join("bench");
    make(&leaf)?;
    for process in fs::read_to_string(root.join("cgroup.procs"))?.split_whitespace() {
        fs::write(leaf.join("cgroup.procs"), process).context("failed to move into the leaf of the bench")?;
    }
    hand_down_controllers(root)
}

/// The processes in the cgroup `id` or below it, in whatever hierarchy.
pub(crate) fn processes(id: &str) -> Result<Vec<i32>> {
    let mut found = Vec::new();
    for hierarchy in hierarchies()? {
        collect_processes(&hierarchy.folder.join(id), &mut found);
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

fn collect_processes(folder: &Path, found: &mut Vec<i32>) {
    // What vanishes while it is read has no processes any more.
    let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    found.extend(text.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
    for below in folders_in(folder) {
        collect_processes(&below, found);
    }
}

fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Removes the cgroup `id` and all below it from every hierarchy.
pub(crate) fn remove(id: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        remove_depth_first(&hierarchy.folder.join(id))?;
    }
    Ok(())
}

fn remove_depth_first(folder: &Path) -> Result<()> {
    for below in folders_in(folder) {
        remove_depth_first(&below)?;
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove the cgroup {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// The folders of the cgroup `id` that exist.
pub(crate) fn folders(id: &str) -> Result<Vec<PathBuf>> {
    let all = hierarchies()?.into_iter().map(|hierarchy| hierarchy.folder.join(id));
    Ok(all.filter(|folder| folder.exists()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_read_from_the_table_of_mounts() {
        let one =
            parse_mount("33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct");
        let one = one.unwrap();
        assert_eq!(one.folder, Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(one.version, Version::One("cpu,cpuacct".into()));
        let two =
            parse_mount("41 31 0:38 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate")
                .unwrap();
        assert_eq!(two.version, Version::Two);
        assert!(parse_mount("23 27 0:22 / /sys rw,relatime - sysfs sysfs rw").is_none());
    }
}
