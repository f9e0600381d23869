//! The bench's own view of the machine's folders.
//!
//! The kubelet and the container runtime write to fixed places. Inside, those places are folders of the bench, so
//! that nothing is written to the machine's own and all of it ends with the bench.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::addresses;
use crate::cgroups;

/// What the kubelet would otherwise write into the kernel's settings of the whole machine. It leaves a setting alone
/// that already reads as it wants.
const KERNEL_SETTINGS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// Lays the bench's folders over the machine's. Only for a process that is in namespaces of its own.
pub(crate) fn lay_out(folder: &Path) -> Result<()> {
    fresh_sys()?;
    tmpfs("/run")?;
    fs::create_dir_all("/run/lock").context("failed to make /run/lock")?;
    overlay("/var/lib", &made(folder, "var-lib")?)?;
    fs::create_dir_all("/var/lib/kubelet").context("failed to make /var/lib/kubelet")?;
    bind(&made(folder, "kubelet")?, "/var/lib/kubelet")?;
    bind(&made(folder, "var-log")?, "/var/log")?;
    kernel_settings(&made(folder, "kernel-settings")?)?;
    whole_proc()?;
    names(folder)?;
    // Volumes that the kubelet mounts must be seen by containers that are there already.
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_SHARED | MsFlags::MS_REC, None::<&str>)
        .context("failed to share the mounts inside the bench")
}

fn made(folder: &Path, name: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    fs::create_dir_all(&path).with_context(|| format!("failed to make {}", path.display()))?;
    Ok(path)
}

/// `/sys` tells about the network namespace in which it was mounted, and cgroups about the cgroup namespace.
fn fresh_sys() -> Result<()> {
    let hierarchies = cgroups::hierarchies()?;
    let links = cgroups::links()?;
    umount2("/sys", MntFlags::MNT_DETACH).context("failed to leave the machine's /sys")?;
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), None::<&str>)
        .context("failed to mount /sys")?;
    cgroups::mount_own(&hierarchies, &links)
}

fn tmpfs(target: &str) -> Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), target, Some("tmpfs"), flags, Some("mode=755"))
        .with_context(|| format!("failed to mount a tmpfs over {target}"))
}

fn bind(source: &Path, target: &str) -> Result<()> {
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("failed to bind {} over {target}", source.display()))
}

fn overlay(target: &str, folder: &Path) -> Result<()> {
    let (upper, work) = (made(folder, "upper")?, made(folder, "work")?);
    let options = format!("lowerdir={target},upperdir={},workdir={}", upper.display(), work.display());
    mount(Some("overlay"), target, Some("overlay"), MsFlags::empty(), Some(options.as_str())).with_context(
        || {
            format!(
                "failed to lay an overlay over {target}: the cache folder must lie on a file system \
                                  that can carry overlays (ext4, xfs, btrfs)"
            )
        },
    )
}

fn kernel_settings(folder: &Path) -> Result<()> {
    for (setting, value) in KERNEL_SETTINGS {
        let file = folder.join(setting.replace('/', "."));
        fs::write(&file, format!("{value}\n"))
            .with_context(|| format!("failed to write {}", file.display()))?;
        bind(&file, &format!("/proc/sys/{setting}"))?;
    }
    Ok(())
}

/// The kernel lets a pod with a user namespace of its own mount a `/proc` only where a whole one can be seen already, and
/// the one in its usual place has files laid over it.
fn whole_proc() -> Result<()> {
    const PLACE: &str = "/run/whole-proc";
    fs::create_dir_all(PLACE).with_context(|| format!("failed to make {PLACE}"))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), PLACE, Some("proc"), flags, None::<&str>)
        .with_context(|| format!("failed to mount a whole /proc at {PLACE}"))
}

/// Inside, names are those of the cluster and of the bench's own hosts.
fn names(folder: &Path) -> Result<()> {
    fs::write("/proc/sys/kernel/hostname", addresses::NODE_NAME).context("failed to name the node")?;
    let resolver = folder.join("resolv.conf");
    fs::write(&resolver, format!("nameserver {}\n", addresses::NODE))
        .context("failed to write resolv.conf")?;
    let hosts = folder.join("hosts");
    let text = format!("127.0.0.1 localhost\n{} {}\n", addresses::NODE, addresses::NODE_NAME);
    fs::write(&hosts, text).context("failed to write hosts")?;
    for (file, target) in [(resolver, "/etc/resolv.conf"), (hosts, "/etc/hosts")] {
        // A link into the machine's /run leads nowhere inside; then there is nothing to lay a file over.
        if Path::new(target).exists() {
            bind(&file, target)?;
        }
    }
    Ok(())
}
