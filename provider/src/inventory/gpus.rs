//! What NVML says of this machine's GPUs: which there are, and how each one is doing.
//!
//! Nothing here fails the node. No library or no driver means no GPUs, with the reason; a GPU that does not answer is
//! unhealthy when NVML says why, and unknown when it says something that we do not understand. A GPU that was seen once is
//! never silently dropped: it stays, unhealthy or unknown, until this process ends.

mod examine;
mod readings;
mod slices;
mod topology;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use manifests::gpu::PciId;
use nvml_wrapper::Nvml;
use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::event::EventSet;
use nvml_wrapper::{cuda_driver_version_major, cuda_driver_version_minor};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use self::examine::{examine, verdict};
pub use self::readings::Readings;
pub use self::slices::Slice;
use self::topology::topology;

/// One look at the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Whether there is a driver to ask.
    pub driver: Driver,
    /// The GPUs, in the order of their UUIDs.
    pub devices: Vec<Device>,
    /// How they are tied together.
    pub topology: Topology,
    /// What was measured of those that answered, by UUID.
    pub readings: BTreeMap<String, Readings>,
    /// What could not be found out, a sentence each: for people, not for decisions.
    pub problems: Vec<String>,
}

/// The driver of the machine.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Driver {
    /// It answers.
    Loaded {
        /// Such as `570.133.20`; `None` if it does not say.
        version: Option<String>,
        /// The highest CUDA version that it serves, such as `12.8`.
        cuda: Option<String>,
    },
    /// There is none that could be asked, and why.
    Absent {
        /// A sentence, such as "NVIDIA driver is not loaded".
        reason: String,
    },
}

/// One GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// `GPU-` and a UUID: the id under which a device plugin announces it to the kubelet.
    pub uuid: String,
    /// The product's name as NVML gives it.
    pub name: String,
    /// Memory as NVML counts it, in MiB.
    pub memory_mib: u64,
    /// The PCI bus' ids of chip and board.
    pub pci: PciId,
    /// The PCI address.
    pub bus: String,
    /// The N of `/dev/nvidiaN`, if NVML tells.
    pub minor: Option<u32>,
    /// Whether it is cut into MIG slices; it is then not offered as a whole.
    pub mig: bool,
    /// The slices.
    pub slices: Vec<Slice>,
    /// CUDA compute capability, such as `9.0`, if NVML tells.
    pub compute_capability: Option<String>,
    /// The NUMA node of its slot, if somebody tells.
    pub numa_node: Option<u32>,
    /// How many NVLinks are up; `None` where NVML knows none.
    pub nvlinks: Option<u32>,
    /// Whether its memory corrects errors; `None` where it cannot.
    pub ecc: Option<bool>,
    /// Whether a remapping of memory rows waits for a reset; `None` where rows are not remapped.
    pub remap_pending: Option<bool>,
    /// The Xid that speaks against it.
    pub xid: Option<u64>,
    /// How it is doing.
    pub health: Health,
}

/// How a GPU is doing.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Health {
    /// It answers and nothing speaks against it.
    Healthy,
    /// It must not be given to anybody.
    Unhealthy {
        /// Why, as a sentence.
        reason: String,
    },
    /// We cannot tell: nothing new goes there, and nothing that runs there is judged by it.
    Unknown {
        /// What happened when we asked.
        reason: String,
    },
}

/// How GPUs are tied together: groups of UUIDs, of at least two each.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct Topology {
    /// Those that NVLink ties together, directly or through switches.
    pub islands: Vec<Vec<String>>,
    /// Those that reach each other over PCIe switches, without a host bridge between them.
    pub pcie: Vec<Vec<String>>,
}

/// Looks once at the machine. `library` is the path of NVML's library; without it the loader finds it by name.
#[must_use]
pub fn probe(library: Option<&Path>) -> Probe {
    let mut memory = Memory::default();
    match open(library) {
        Ok(nvml) => memory.look(&nvml),
        Err(reason) => memory.absent(reason),
    }
}

/// How to watch a machine.
#[derive(Clone, Debug)]
pub struct Watch {
    /// The path of NVML's library; without it the loader finds it by name.
    pub library: Option<PathBuf>,
    /// From one look to the next; an Xid error brings the next look forward.
    pub period: Duration,
    /// For how long NVML stays open while all is well. NVML fixes its list of devices when it is opened, so this is how long
    /// a new GPU may go unseen; opening it takes seconds on a machine without persistence mode.
    pub reopen: Duration,
}

impl Watch {
    /// Watches until stopped, on the thread that calls it; hands over each look.
    ///
    /// NVML stays open between looks, because Xid errors reach only who listens; it is opened again when a GPU was lost or
    /// something was not understood, and now and then.
    pub fn run(&self, stop: &CancellationToken, mut hand_over: impl FnMut(Probe)) {
        let mut memory = Memory::default();
        while !stop.is_cancelled() {
            let nvml = match open(self.library.as_deref()) {
                Ok(nvml) => nvml,
                Err(reason) => {
                    hand_over(memory.absent(reason));
                    rest(self.period, stop);
                    continue;
                }
            };
            let opened = Instant::now();
            memory.mapped.clear();
            let ears = listen(&nvml);
            loop {
                hand_over(memory.look(&nvml));
                for (uuid, xid) in hear(ears.as_ref(), self.period, stop) {
                    memory.suffer(&uuid, xid);
                }
                if stop.is_cancelled() || !memory.complete || opened.elapsed() >= self.reopen {
                    break;
                }
            }
        }
    }
}

/// Whether the driver reports this Xid for a fault of a program that ran on the GPU: the GPU itself is well.
///
/// The numbers are those that the vendor's device plugin passes over, so that what is offered agrees with what the kubelet
/// finds allocatable: 13 graphics engine exception, 31 memory page fault, 43 stopped processing, 45 preemptive cleanup, 68
/// video processor exception, 109 context switch timeout.
#[must_use]
pub fn is_fault_of_a_program(xid: u64) -> bool {
    matches!(xid, 13 | 31 | 43 | 45 | 68 | 109)
}

/// What was seen so far.
#[derive(Debug, Default)]
struct Memory {
    /// By UUID.
    known: BTreeMap<String, Known>,
    /// How they are tied together, and which of them were asked.
    topology: Topology,
    mapped: BTreeSet<String>,
    /// Whether every GPU answered when last asked, so that NVML opened anew could not tell more.
    complete: bool,
}

#[derive(Debug)]
struct Known {
    device: Device,
    index: u32,
    /// The Xid that speaks against it.
    xid: Option<u64>,
    /// The last of any kind.
    last_xid: Option<u64>,
}

impl Memory {
    /// All that can be said when NVML cannot be opened.
    fn absent(&mut self, reason: String) -> Probe {
        self.complete = false;
        for known in self.known.values_mut() {
            known.device.health = Health::Unknown { reason: reason.clone() };
        }
        Probe {
            driver: Driver::Absent { reason },
            devices: self.devices(),
            topology: self.topology.clone(),
            readings: BTreeMap::new(),
            problems: Vec::new(),
        }
    }

    fn look(&mut self, nvml: &Nvml) -> Probe {
        let count = match nvml.device_count() {
            Ok(count) => count,
            Err(error) => return self.absent(format!("NVML does not count the GPUs: {error}")),
        };
        let (mut seen, mut silent, mut problems) = (BTreeSet::new(), Vec::new(), Vec::new());
        let mut readings = BTreeMap::new();
        for index in 0..count {
            match examine(nvml, index) {
                Ok((device, measured)) => {
                    let uuid = device.uuid.clone();
                    seen.insert(uuid.clone());
                    let last_xid = self.remember(index, device);
                    readings.insert(uuid, Readings { last_xid, ..measured });
                }
                Err(gpu) => silent.push(gpu),
            }
        }
        self.complete = silent.is_empty() && self.known.len() == seen.len();
        for gpu in &silent {
            let known = self.known.values().any(|known| gpu.is(known));
            if !known {
                problems.push(format!("GPU {} cannot be identified: {}", gpu.index, gpu.error));
            }
        }
        for known in self.known.values_mut().filter(|known| !seen.contains(&known.device.uuid)) {
            known.device.health = match silent.iter().find(|gpu| gpu.is(known)) {
                Some(gpu) => verdict(&gpu.error),
                None => Health::Unhealthy { reason: "NVML no longer lists it".to_owned() },
            };
            if matches!(known.device.health, Health::Unhealthy { .. }) {
                // A GPU comes back from there only through a reset, which ends what its Xid told.
                known.xid = None;
                known.device.xid = None;
            }
        }
        // It takes hundreds of calls and does not change while NVML is open, except that a GPU comes back.
        if !seen.is_subset(&self.mapped) {
            self.topology = topology(nvml, count);
            self.mapped = seen;
        }
        Probe {
            driver: driver(nvml),
            devices: self.devices(),
            topology: self.topology.clone(),
            readings,
            problems,
        }
    }

    /// Takes note of a GPU that answered; gives the last Xid that was heard of it.
    fn remember(&mut self, index: u32, mut device: Device) -> Option<u64> {
        let before = self.known.get(&device.uuid);
        let (xid, last_xid) = before.map_or((None, None), |known| (known.xid, known.last_xid));
        device.xid = xid;
        if let (Some(xid), Health::Healthy) = (xid, &device.health) {
            device.health =
                Health::Unhealthy { reason: format!("Xid {xid}: the driver reported a fault of the GPU") };
        }
        self.known.insert(device.uuid.clone(), Known { device, index, xid, last_xid });
        last_xid
    }

    /// Takes note of an Xid: one of the GPU's own holds until the GPU was away, or this process ends.
    fn suffer(&mut self, uuid: &str, xid: u64) {
        let Some(known) = self.known.get_mut(uuid) else { return };
        known.last_xid = Some(xid);
        if !is_fault_of_a_program(xid) {
            known.xid = Some(xid);
        }
    }

    fn devices(&self) -> Vec<Device> {
        self.known.values().map(|known| known.device.clone()).collect()
    }
}

fn open(library: Option<&Path>) -> Result<Nvml, String> {
    let opened = match library {
        Some(path) => Nvml::builder().lib_path(path.as_os_str()).init(),
        None => Nvml::init(),
    };
    opened.map_err(|error| match error {
        NvmlError::LibloadingError(error) => format!("NVML's library cannot be loaded: {error}"),
        error => format!("NVML does not start: {error}"),
    })
}

fn driver(nvml: &Nvml) -> Driver {
    let cuda = nvml.sys_cuda_driver_version().ok();
    Driver::Loaded {
        version: nvml.sys_driver_version().ok(),
        cuda: cuda
            .map(|cuda| format!("{}.{}", cuda_driver_version_major(cuda), cuda_driver_version_minor(cuda))),
    }
}

/// Registers for Xid errors of every GPU that reports them; `None` when none does.
fn listen(nvml: &Nvml) -> Option<EventSet<'_>> {
    let count = nvml.device_count().ok()?;
    let devices = (0..count).filter_map(|index| {
        let device = nvml.device_by_index(index).ok()?;
        device.supported_event_types().ok()?.contains(EventTypes::CRITICAL_XID_ERROR).then_some(device)
    });
    let mut devices: Vec<_> = devices.collect();
    // A registration that fails takes the whole set with it: start again without that GPU.
    'again: while !devices.is_empty() {
        let mut set = nvml.create_event_set().ok()?;
        for at in 0..devices.len() {
            match devices[at].register_events(EventTypes::CRITICAL_XID_ERROR, set) {
                Ok(registered) => set = registered,
                Err(error) => {
                    tracing::debug!(%error, "a GPU does not tell of its Xid errors");
                    devices.remove(at);
                    continue 'again;
                }
            }
        }
        return Some(set);
    }
    None
}

/// How long a stop may go unnoticed.
const SLICE: Duration = Duration::from_secs(1);

/// Waits for one period, or until an Xid arrives; then takes all that are there.
fn hear(ears: Option<&EventSet<'_>>, period: Duration, stop: &CancellationToken) -> Vec<(String, u64)> {
    let Some(set) = ears else {
        rest(period, stop);
        return Vec::new();
    };
    let end = Instant::now() + period;
    let mut heard = Vec::new();
    while !stop.is_cancelled() {
        let left = end.saturating_duration_since(Instant::now());
        let slice = if heard.is_empty() { left.min(SLICE) } else { Duration::ZERO };
        let timeout = u32::try_from(slice.as_millis()).unwrap_or(u32::MAX);
        match set.wait(timeout) {
            Ok(event) => {
                if let (Some(XidError::Value(xid)), Ok(uuid)) = (event.event_data, event.device.uuid()) {
                    heard.push((uuid, xid));
                }
            }
            Err(NvmlError::Timeout) => {
                if !heard.is_empty() || left.is_zero() {
                    break;
                }
            }
            // A GPU is lost: NVML answers so at once, and the next look will find it.
            Err(_) => {
                rest(if heard.is_empty() { left } else { Duration::ZERO }, stop);
                break;
            }
        }
    }
    heard
}

fn rest(period: Duration, stop: &CancellationToken) {
    let end = Instant::now() + period;
    while !stop.is_cancelled() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        thread::sleep(left.min(SLICE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fake_nvml::script::Mig;
    use fake_nvml::{SCRIPT_NAME, Script};
    use std::sync::mpsc::{Receiver, channel};

    /// A machine played by the fake library, which the real bindings load.
    struct Machine {
        folder: tempfile::TempDir,
        library: PathBuf,
        script: Script,
    }

    impl Machine {
        fn new(change: impl FnOnce(&mut Script)) -> Self {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let mut script = Script::four_h100();
            change(&mut script);
            let library =
                fake_nvml::install(folder.path(), &script).expect("the library was built with this test");
            Self { folder, library, script }
        }

        fn change(&mut self, change: impl FnOnce(&mut Script)) {
            change(&mut self.script);
            self.script.write(&self.folder.path().join(SCRIPT_NAME)).expect("the folder is ours");
        }

        fn probe(&self) -> Probe {
            probe(Some(&self.library))
        }

        fn watch(&self, period: Duration) -> Watched {
            let watch =
                Watch { library: Some(self.library.clone()), period, reopen: Duration::from_secs(3600) };
            let (send, probes) = channel();
            let stop = CancellationToken::new();
            let stopped = stop.clone();
            let thread = thread::spawn(move || watch.run(&stopped, |probe| drop(send.send(probe))));
            Watched { probes, stop, thread: Some(thread) }
        }
    }

    struct Watched {
        probes: Receiver<Probe>,
        stop: CancellationToken,
        thread: Option<thread::JoinHandle<()>>,
    }

    impl Watched {
        /// The next look for which this holds.
        fn until(&self, holds: impl Fn(&Probe) -> bool) -> Probe {
            let end = Instant::now() + Duration::from_secs(20);
            let mut last = None;
            while let Ok(probe) = self.probes.recv_timeout(end.saturating_duration_since(Instant::now())) {
                if holds(&probe) {
                    return probe;
                }
                last = Some(probe);
            }
            panic!("nothing of the kind was seen; last: {last:?}");
        }
    }

    impl Drop for Watched {
        fn drop(&mut self) {
            self.stop.cancel();
            let ended = self.thread.take().map(thread::JoinHandle::join);
            assert!(matches!(ended, Some(Ok(()))), "the watch ends well");
        }
    }

    const OFTEN: Duration = Duration::from_millis(20);

    fn reason(probe: &Probe, index: usize) -> String {
        match &probe.devices[index].health {
            Health::Healthy => "healthy".to_owned(),
            Health::Unhealthy { reason } => format!("unhealthy: {reason}"),
            Health::Unknown { reason } => format!("unknown: {reason}"),
        }
    }

    #[test]
    fn machine_with_four_gpus_is_told_as_it_is() {
        let machine = Machine::new(|_| {});
        let probe = machine.probe();
        let driver = Driver::Loaded { version: Some("570.133.20".to_owned()), cuda: Some("12.8".to_owned()) };
        assert_eq!(probe.driver, driver);
        assert_eq!(probe.devices.len(), 4);
        assert!(probe.problems.is_empty());
        let expected = Device {
            uuid: "GPU-3f0c1c1e-6d7a-5b8f-9a51-0c2d7be40a11".to_owned(),
            name: "NVIDIA H100 80GB HBM3".to_owned(),
            memory_mib: 81_559,
            pci: PciId { vendor: 0x10de, device: 0x2330, subvendor: 0x10de, subdevice: 0x16c1 },
            bus: "00000000:1B:00.0".to_owned(),
            minor: Some(0),
            mig: false,
            slices: Vec::new(),
            compute_capability: Some("9.0".to_owned()),
            numa_node: Some(0),
            nvlinks: Some(18),
            ecc: Some(true),
            remap_pending: Some(false),
            xid: None,
            health: Health::Healthy,
        };
        assert_eq!(probe.devices[0], expected);
        let measured = Readings {
            temperature_c: Some(31),
            power_mw: Some(71_000),
            power_limit_mw: Some(700_000),
            utilization_percent: Some(0),
            memory_used_bytes: Some(0),
            memory_bytes: Some(81_559 << 20),
            is_throttled: Some(false),
            ecc_corrected: Some(0),
            ecc_uncorrected: Some(0),
            remapped_rows: Some(0),
            last_xid: None,
        };
        assert_eq!(probe.readings[&expected.uuid], measured);
        let all: Vec<String> = probe.devices.iter().map(|device| device.uuid.clone()).collect();
        assert_eq!(probe.topology, Topology { islands: vec![all], pcie: Vec::new() }, "one switch, no PCIe");
    }

    #[test]
    fn machine_without_library_or_driver_has_no_gpus_and_says_why() {
        let none = probe(Some(Path::new("/nowhere/libnvidia-ml.so.1")));
        let Driver::Absent { reason } = &none.driver else { panic!("{none:?}") };
        assert!(reason.contains("/nowhere/libnvidia-ml.so.1"), "{reason}");
        assert!(none.devices.is_empty());

        for (code, because) in [
            (9, "NVIDIA driver is not loaded"),
            (18, "RM detects a driver/library version mismatch"),
            (4, "the current user does not have permission"),
            (999, "an internal driver error occurred"),
            (4711, "unexpected enum variant value: 4711"),
        ] {
            let probe = Machine::new(|script| script.init = code).probe();
            let Driver::Absent { reason } = &probe.driver else { panic!("{probe:?}") };
            assert!(reason.starts_with("NVML does not start: ") && reason.contains(because), "{reason}");
            assert!(probe.devices.is_empty() && probe.problems.is_empty());
        }
    }

    #[test]
    fn file_that_is_no_library_is_a_machine_without_driver() {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("libnvidia-ml.so.1");
        std::fs::write(&library, "not an ELF file").unwrap();
        assert!(matches!(probe(Some(&library)).driver, Driver::Absent { .. }));
    }

    #[test]
    fn gpu_that_never_answered_is_a_problem_and_the_others_are_offered() {
        let machine = Machine::new(|script| {
            script.devices[0].health = fake_nvml::Health::Lost;
            script.devices[1].health = fake_nvml::Health::Answers(4711);
        });
        let probe = machine.probe();
        assert_eq!(probe.devices.len(), 2);
        let problems: Vec<&str> = probe.problems.iter().map(String::as_str).collect();
        assert!(
            problems[0].starts_with("GPU 0 cannot be identified: device fell off the bus"),
            "{problems:?}"
        );
        assert_eq!(problems[1], "GPU 1 cannot be identified: unexpected enum variant value: 4711");
    }

    #[test]
    fn failed_row_remapping_is_unhealthy_and_a_board_without_it_is_not() {
        let machine = Machine::new(|script| {
            script.devices[0].ecc = Some(fake_nvml::script::Ecc { remap_failed: true, ..Default::default() });
            script.devices[1].ecc = None;
        });
        let probe = machine.probe();
        assert!(reason(&probe, 0).starts_with("unhealthy: a remapping of memory rows failed"), "{probe:?}");
        assert_eq!(reason(&probe, 1), "healthy");
    }

    #[test]
    fn sliced_gpu_says_so() {
        let machine = Machine::new(|script| {
            script.devices[0].mig = Some(Mig { enabled: true, slices: Vec::new() });
            script.devices[1].mig = Some(Mig { enabled: false, slices: Vec::new() });
        });
        let probe = machine.probe();
        assert_eq!(
            probe.devices.iter().map(|device| device.mig).collect::<Vec<_>>(),
            [true, false, false, false]
        );
    }

    /// One of the fake's own machines.
    fn shipped(name: &str) -> Machine {
        Machine::new(|script| *script = Script::shipped(name))
    }

    #[test]
    fn slices_are_told_with_their_profiles() {
        let probe = shipped("mig").probe();
        assert!(probe.problems.is_empty(), "{:?}", probe.problems);
        let told: Vec<(bool, Vec<(&str, u64)>)> = probe
            .devices
            .iter()
            .map(|device| {
                let slices = device.slices.iter().map(|slice| (slice.profile.as_str(), slice.memory_mib));
                (device.mig, slices.collect())
            })
            .collect();
        let named = vec![("3g.40gb", 40_448), ("1g.10gb", 9_984), ("1g.10gb+me", 9_984)];
        let measured = vec![("1g.10gb", 9_984); 2];
        for expected in [(true, named), (true, measured), (false, Vec::new())] {
            assert!(told.contains(&expected), "{expected:?} is not in {told:?}");
        }
    }

    #[test]
    fn sixteen_gpus_on_two_boards_are_two_islands() {
        let probe = shipped("sixteen").probe();
        let bus = |uuid: &String| {
            let device = probe.devices.iter().find(|device| device.uuid == *uuid).expect("is listed");
            (device.bus.clone(), device.numa_node)
        };
        let islands: Vec<usize> = probe.topology.islands.iter().map(Vec::len).collect();
        assert_eq!(islands, [8, 8]);
        for island in &probe.topology.islands {
            let boards: BTreeSet<Option<u32>> = island.iter().map(|uuid| bus(uuid).1).collect();
            assert_eq!(boards.len(), 1, "an island lies on one board");
        }
        let pairs: Vec<usize> = probe.topology.pcie.iter().map(Vec::len).collect();
        assert_eq!(pairs, [2; 8]);
        assert!(probe.devices.iter().all(|device| device.nvlinks == Some(6)));
    }

    #[test]
    fn gpus_that_are_linked_to_each_other_are_an_island() {
        let probe = Machine::new(|script| {
            // A chain: the first is tied to the third through the second.
            let buses: Vec<_> = script.devices.iter().map(|device| device.bus).collect();
            for (device, ends) in script.devices.iter_mut().zip([vec![1], vec![0, 2], vec![1], vec![]]) {
                device.nvlinks = u32::try_from(ends.len()).expect("a few");
                device.nvlink_ends = ends.iter().map(|end| buses[*end]).collect();
            }
        })
        .probe();
        let uuids: Vec<&String> = probe.devices.iter().map(|device| &device.uuid).collect();
        assert_eq!(probe.topology.islands.iter().flatten().collect::<Vec<_>>(), uuids[..3]);
        assert_eq!(probe.devices[3].nvlinks, Some(0));
    }

    #[test]
    fn driver_that_is_too_old_for_a_call_loses_that_answer_alone() {
        let probe = shipped("old-driver").probe();
        assert!(probe.problems.is_empty(), "{:?}", probe.problems);
        assert_eq!(
            probe.driver,
            Driver::Loaded { version: Some("450.248.02".to_owned()), cuda: Some("11.0".to_owned()) }
        );
        for device in &probe.devices {
            assert_eq!((&device.health, device.memory_mib, device.mig), (&Health::Healthy, 16_160, false));
            assert_eq!((device.numa_node, device.remap_pending), (None, None), "it has no such calls");
            assert_eq!(device.compute_capability.as_deref(), Some("7.0"));
            let measured = &probe.readings[&device.uuid];
            assert_eq!(
                (measured.temperature_c, measured.is_throttled, measured.remapped_rows),
                (Some(31), None, None)
            );
        }
    }

    #[test]
    fn answer_that_speaks_against_the_gpu_counts_whichever_call_gets_it() {
        const LOST: u32 = 15;
        const NOT_SUPPORTED: u32 = 3;
        let refused = |symbol: &str, code| {
            let probe = Machine::new(|script| {
                script.devices[0].answers = [(symbol.to_owned(), code)].into();
            })
            .probe();
            (probe.devices.len(), probe.problems.len())
        };
        assert_eq!(refused("nvmlDeviceGetCudaComputeCapability", LOST), (3, 1), "it was never seen well");
        assert_eq!(refused("nvmlDeviceGetCudaComputeCapability", 999), (4, 0));
        assert_eq!(refused("nvmlDeviceGetTemperature", LOST), (4, 0), "the next look finds it");
        assert_eq!(refused("nvmlDeviceGetMemoryInfo_v2", NOT_SUPPORTED), (4, 0));
        assert_eq!(refused("nvmlDeviceGetMemoryInfo_v2", 999), (3, 1), "it is not known what it is");
    }

    #[test]
    fn product_that_nobody_knows_is_told_as_it_is() {
        let probe = shipped("unknown").probe();
        let names: BTreeSet<String> = probe
            .devices
            .iter()
            .map(|device| {
                assert_eq!(device.name, "NVIDIA Graphics Device");
                manifests::gpu::Gpu::of_device(&device.name, device.memory_mib, device.pci).to_string()
            })
            .collect();
        let known = ["h100-80Gi-pcie", "unknown-10de3fff-96Gi"];
        assert_eq!(
            names.iter().map(String::as_str).collect::<Vec<_>>(),
            known,
            "ids say more than such a name"
        );
    }

    #[test]
    fn script_of_a_machine_without_driver_has_no_gpus() {
        let probe = shipped("no-driver").probe();
        assert!(
            matches!(&probe.driver, Driver::Absent { reason } if reason.contains("driver is not loaded"))
        );
        assert!(probe.devices.is_empty());
    }

    #[test]
    fn gpu_that_falls_off_the_bus_leaves_the_islands_of_the_others_as_they_are() {
        let mut machine = shipped("sixteen");
        let watched = machine.watch(OFTEN);
        watched.until(|probe| probe.topology.islands.len() == 2);
        machine.change(|script| script.devices[5].health = fake_nvml::Health::Lost);
        let probe =
            watched.until(|probe| probe.devices.iter().any(|device| device.health != Health::Healthy));
        let islands: Vec<usize> = probe.topology.islands.iter().map(Vec::len).collect();
        assert!(islands == [8, 8] || islands == [7, 8] || islands == [8, 7], "{islands:?}");
    }

    #[test]
    fn lost_gpu_keeps_its_name_is_unhealthy_and_comes_back() {
        let mut machine = Machine::new(|_| {});
        let watched = machine.watch(OFTEN);
        let uuid = watched.until(|probe| probe.devices.len() == 4).devices[2].uuid.clone();
        machine.change(|script| *script = Script::shipped("lost"));
        let probe = watched.until(|probe| reason(probe, 2) != "healthy");
        assert!(reason(&probe, 2).starts_with("unhealthy: device fell off the bus"), "{probe:?}");
        assert_eq!((probe.devices.len(), &probe.devices[2].uuid), (4, &uuid));
        machine.change(|script| script.devices[2].health = fake_nvml::Health::Healthy);
        watched.until(|probe| reason(probe, 2) == "healthy");
    }

    #[test]
    fn gpu_that_was_taken_out_is_unhealthy_and_one_put_in_is_found() {
        let mut machine = Machine::new(|script| script.devices.truncate(3));
        let watched = machine.watch(OFTEN);
        watched.until(|probe| probe.devices.len() == 3);
        machine.change(|script| script.devices = Script::four_h100().devices[1..].to_vec());
        let probe = watched.until(|probe| probe.devices.len() == 4);
        assert_eq!(reason(&probe, 0), "unhealthy: NVML no longer lists it");
        assert_eq!(reason(&probe, 3), "healthy");
    }

    #[test]
    fn answer_that_is_not_understood_is_unknown_and_nothing_is_lost_by_it() {
        let mut machine = Machine::new(|_| {});
        let watched = machine.watch(OFTEN);
        watched.until(|probe| probe.devices.len() == 4);
        machine.change(|script| script.devices[1].health = fake_nvml::Health::Answers(4711));
        let probe = watched.until(|probe| reason(probe, 1) != "healthy");
        assert_eq!(reason(&probe, 1), "unknown: unexpected enum variant value: 4711");
        assert_eq!(probe.devices.iter().filter(|device| device.health == Health::Healthy).count(), 3);
    }

    #[test]
    fn driver_that_goes_leaves_its_gpus_unknown_and_is_opened_anew_when_it_is_back() {
        let mut machine = Machine::new(|script| script.devices.truncate(3));
        let watched = machine.watch(OFTEN);
        watched.until(|probe| probe.devices.len() == 3);
        machine.change(|script| script.init = 9);
        let probe = watched.until(|probe| matches!(probe.driver, Driver::Absent { .. }));
        assert!((0..3).all(|index| reason(&probe, index).starts_with("unknown: ")), "{probe:?}");
        machine.change(|script| *script = Script::four_h100());
        watched
            .until(|probe| probe.devices.len() == 4 && (0..4).all(|index| reason(probe, index) == "healthy"));
    }

    /// On a machine with GPUs: `cargo test -p provider --lib vendors -- --ignored --nocapture`
    #[test]
    #[ignore = "needs a GPU and the vendor's library"]
    fn vendors_library_tells_of_gpus_that_can_be_named() {
        let started = Instant::now();
        let probe = probe(None);
        println!("{probe:#?}\nin {:?}", started.elapsed());
        assert!(matches!(&probe.driver, Driver::Loaded { version: Some(_), cuda: Some(_) }));
        assert!(!probe.devices.is_empty() && probe.problems.is_empty());
        for device in &probe.devices {
            assert!(device.uuid.starts_with("GPU-") && device.memory_mib > 1024);
            assert_eq!(device.health, Health::Healthy);
            let gpu = manifests::gpu::Gpu::of_device(&device.name, device.memory_mib, device.pci);
            println!("{gpu}");
            assert!(!gpu.model().starts_with("unknown"));
        }

        let watch = Watch { library: None, period: Duration::from_secs(1), reopen: Duration::from_secs(2) };
        let (stop, mut looks) = (CancellationToken::new(), Vec::new());
        watch.run(&stop, |look| {
            looks.push(look);
            if looks.len() == 5 {
                stop.cancel();
            }
        });
        assert!(looks.iter().all(|look| look.devices == probe.devices), "{looks:#?}");
    }

    #[test]
    fn xid_of_the_gpu_counts_at_once_and_one_of_a_program_never() {
        let mut machine = Machine::new(|_| {});
        // So long a period never ends here: what is seen was brought forward by the Xid.
        let watched = machine.watch(Duration::from_secs(3600));
        watched.until(|probe| probe.devices.len() == 4);
        machine.change(|script| script.devices[0].health = fake_nvml::Health::Xid(31));
        assert_eq!(reason(&watched.until(|_| true), 0), "healthy");
        machine.change(|script| script.devices[3] = Script::shipped("xid-79").devices[3].clone());
        let probe = watched.until(|probe| reason(probe, 3) != "healthy");
        assert_eq!(probe.devices[3].xid, Some(79));
        let last = |index: usize| probe.readings[&probe.devices[index].uuid].last_xid;
        assert_eq!((last(0), last(1), last(3)), (Some(31), None, Some(79)), "also what does not count");
        assert_eq!(reason(&probe, 3), "unhealthy: Xid 79: the driver reported a fault of the GPU");
        assert_eq!(reason(&probe, 0), "healthy");
    }

    #[test]
    fn xid_is_forgotten_only_when_the_gpu_was_away() {
        let mut machine = Machine::new(|_| {});
        let watched = machine.watch(OFTEN);
        watched.until(|probe| probe.devices.len() == 4);
        machine.change(|script| script.devices[0].health = fake_nvml::Health::Xid(48));
        watched.until(|probe| reason(probe, 0).contains("Xid 48"));
        machine.change(|script| script.devices[0].health = fake_nvml::Health::Healthy);
        for _ in 0..3 {
            assert!(
                reason(&watched.until(|_| true), 0).contains("Xid 48"),
                "nothing says that it was repaired"
            );
        }
        machine.change(|script| script.devices[0].health = fake_nvml::Health::Lost);
        watched.until(|probe| reason(probe, 0).contains("fell off"));
        machine.change(|script| script.devices[0].health = fake_nvml::Health::Healthy);
        watched.until(|probe| reason(probe, 0) == "healthy");
    }
}
