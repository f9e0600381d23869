//! The machine behind the symbols: the script in force, what was fixed at initialisation, handles and event sets.
//!
//! Handles are numbers, not addresses, so a wrong one is answered with "invalid argument" instead of a crash.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nvml_wrapper_sys::bindings::*;

use crate::exports::call;
use crate::file::ScriptFile;
use crate::script::{Device, Health, MigSlice, Script};

/// What a call of NVML answers: done, or a number that is not 0.
pub(crate) type Answer<T = ()> = Result<T, nvmlReturn_t>;

static MACHINE: Mutex<Machine> = Mutex::new(Machine::new());

/// The one machine of this copy of the library. A call that panicked leaves nothing half done that matters.
pub(crate) fn machine() -> MutexGuard<'static, Machine> {
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) struct Machine {
    file: Option<ScriptFile>,
    /// How often the library was initialised and not shut down.
    users: u32,
    /// UUIDs in the order of their indices, as they were at initialisation.
    indices: Vec<String>,
    /// Every UUID that ever got a handle; the handle is its place here plus one.
    handles: Vec<String>,
    /// Every Xid since the library was loaded.
    xids: Vec<(String, u64)>,
    sets: BTreeMap<usize, EventSet>,
    next_set: usize,
}

/// A set hears what happens after it was made.
struct EventSet {
    heard: usize,
    registered: HashMap<String, u64>,
}

impl Machine {
    const fn new() -> Self {
        Self {
            file: None,
            users: 0,
            indices: Vec::new(),
            handles: Vec::new(),
            xids: Vec::new(),
            sets: BTreeMap::new(),
            next_set: 1,
        }
    }

    /// One more user; the first fixes the list of devices.
    pub(crate) fn initialise(&mut self, script: impl FnOnce() -> PathBuf) -> Answer {
        self.file.get_or_insert_with(|| ScriptFile::new(script()));
        self.refresh();
        let script = self.script()?;
        if self.users == 0 {
            self.indices = script.devices.iter().map(|device| device.uuid.clone()).collect();
        }
        self.users += 1;
        Ok(())
    }

    /// One user less.
    pub(crate) fn shut_down(&mut self) -> Answer {
        self.users = self.users.checked_sub(1).ok_or(nvmlReturn_enum_NVML_ERROR_UNINITIALIZED)?;
        if self.users == 0 {
            self.sets.clear();
        }
        Ok(())
    }

    /// The script in force, for an initialised library whose driver answers.
    pub(crate) fn system(&mut self) -> Answer<&Script> {
        if self.users == 0 {
            return Err(nvmlReturn_enum_NVML_ERROR_UNINITIALIZED);
        }
        self.refresh();
        self.script()
    }

    /// Number of devices since initialisation.
    pub(crate) fn count(&mut self) -> Answer<usize> {
        self.system()?;
        Ok(self.indices.len())
    }

    pub(crate) fn handle_by_index(&mut self, index: usize) -> Answer<nvmlDevice_t> {
        self.system()?;
        let uuid = self.indices.get(index).cloned().ok_or(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)?;
        self.known(&uuid)?;
        Ok(self.handle(&uuid))
    }

    pub(crate) fn handle_by(&mut self, fits: impl Fn(&Device) -> bool) -> Answer<nvmlDevice_t> {
        let script = self.system()?;
        let found = script.devices.iter().find(|device| fits(device)).map(|device| device.uuid.clone());
        let uuid =
            found.filter(|uuid| self.indices.contains(uuid)).ok_or(nvmlReturn_enum_NVML_ERROR_NOT_FOUND)?;
        self.known(&uuid)?;
        Ok(self.handle(&uuid))
    }

    /// The handle of a MIG slice, by its UUID.
    pub(crate) fn slice_handle(&mut self, uuid: &str) -> Answer<nvmlDevice_t> {
        let script = self.system()?;
        let exists = script.devices.iter().any(|device| device.slice(uuid).is_some());
        if exists { Ok(self.handle(uuid)) } else { Err(nvmlReturn_enum_NVML_ERROR_NOT_FOUND) }
    }

    /// The index of a device.
    pub(crate) fn index(&mut self, handle: nvmlDevice_t) -> Answer<usize> {
        let uuid = self.identify(handle)?.uuid.clone();
        self.indices
            .iter()
            .position(|known| *known == uuid)
            .ok_or(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)
    }

    /// The device behind a handle, for a call that only says which one it is.
    pub(crate) fn identify(&mut self, handle: nvmlDevice_t) -> Answer<&Device> {
        self.system()?;
        let uuid = self.uuid(handle)?;
        self.known(&uuid)
    }

    /// The device behind a handle, for a call that measures something.
    pub(crate) fn device(&mut self, handle: nvmlDevice_t) -> Answer<&Device> {
        let device = self.identify(handle)?;
        if let Some(code) = device.answers.get(call()) {
            return Err(*code);
        }
        match device.health {
            Health::Answers(code) => Err(code),
            Health::Healthy | Health::Xid(_) | Health::Lost => Ok(device),
        }
    }

    /// The MIG slice behind a handle with its parent, if it is one.
    pub(crate) fn slice(&mut self, handle: nvmlDevice_t) -> Answer<Option<(&MigSlice, &Device)>> {
        self.system()?;
        let uuid = self.uuid(handle)?;
        let script = self.script()?;
        Ok(script.devices.iter().find_map(|parent| Some((parent.slice(&uuid)?, parent))))
    }

    pub(crate) fn new_set(&mut self) -> Answer<nvmlEventSet_t> {
        self.system()?;
        let id = self.next_set;
        self.next_set += 1;
        self.sets.insert(id, EventSet { heard: self.xids.len(), registered: HashMap::new() });
        Ok(std::ptr::without_provenance_mut(id))
    }

    pub(crate) fn register(&mut self, handle: nvmlDevice_t, events: u64, set: nvmlEventSet_t) -> Answer {
        let uuid = self.device(handle)?.uuid.clone();
        let set = self.sets.get_mut(&set.addr()).ok_or(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)?;
        *set.registered.entry(uuid).or_default() |= events;
        Ok(())
    }

    /// The next Xid that the set asked for and has not heard. A lost device among those it watches is an answer too.
    pub(crate) fn next_xid(&mut self, set: nvmlEventSet_t) -> Answer<Option<(nvmlDevice_t, u64)>> {
        self.system()?;
        let set = self.sets.get_mut(&set.addr()).ok_or(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)?;
        while let Some((uuid, xid)) = self.xids.get(set.heard) {
            set.heard += 1;
            let mask = set.registered.get(uuid).copied().unwrap_or_default();
            if mask & u64::from(nvmlEventTypeXidCriticalError) != 0 {
                let (uuid, xid) = (uuid.clone(), *xid);
                return Ok(Some((self.handle(&uuid), xid)));
            }
        }
        let watched: Vec<String> = set.registered.keys().cloned().collect();
        watched.iter().try_for_each(|uuid| self.known(uuid).map(|_| ()))?;
        Ok(None)
    }

    pub(crate) fn free_set(&mut self, set: nvmlEventSet_t) -> Answer {
        self.sets.remove(&set.addr()).map(|_| ()).ok_or(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)
    }

    fn script(&self) -> Answer<&Script> {
        let script = self.file.as_ref().and_then(ScriptFile::script);
        let script = script.ok_or(nvmlReturn_enum_NVML_ERROR_UNKNOWN)?;
        if script.init == 0 { Ok(script) } else { Err(script.init) }
    }

    /// A device that was there at initialisation and is not lost since.
    fn known(&self, uuid: &str) -> Answer<&Device> {
        let device = self.script()?.device(uuid).filter(|device| device.health != Health::Lost);
        device.ok_or(nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST)
    }

    fn handle(&mut self, uuid: &str) -> nvmlDevice_t {
        let place = self.handles.iter().position(|known| known == uuid).unwrap_or_else(|| {
            self.handles.push(uuid.to_owned());
            self.handles.len() - 1
        });
        std::ptr::without_provenance_mut(place + 1)
    }

    fn uuid(&self, handle: nvmlDevice_t) -> Answer<String> {
        let place = handle.addr().checked_sub(1);
        let uuid = place.and_then(|place| self.handles.get(place)).cloned();
        uuid.ok_or(nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT)
    }

    fn refresh(&mut self) {
        let Some(file) = &mut self.file else { return };
        let before = file.script().cloned();
        if !file.refresh() {
            return;
        }
        // What a machine already suffered from when it was first looked at is no event.
        let (Some(before), Some(now)) = (before, file.script()) else { return };
        for device in &now.devices {
            let was = before.device(&device.uuid).map(|device| device.health);
            if let Health::Xid(xid) = device.health
                && was != Some(device.health)
            {
                self.xids.push((device.uuid.clone(), xid));
            }
        }
    }
}
