//! Orders in few words.

use manifests::group::{OrderSpec, Requirements, SpecUnit};
use manifests::resources::{
    Attribute, Cpu, Endpoint, EndpointKind, Gpu, Memory, Quantity, Resources, Volume,
};
use serde::Deserialize;

/// A resource unit, written short.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Unit {
    pub(crate) count: u32,
    pub(crate) cpu_milli: u64,
    pub(crate) arch: Option<String>,
    #[serde(rename = "memoryGiB")]
    pub(crate) memory_gib: u64,
    #[serde(rename = "ephemeralGiB")]
    pub(crate) ephemeral_gib: u64,
    #[serde(rename = "ramGiB")]
    pub(crate) ram_gib: u64,
    /// Class of a persistent volume of one GiB.
    pub(crate) persistent: Option<String>,
    pub(crate) gpus: u64,
    /// What follows `vendor/nvidia/model/`.
    pub(crate) models: Vec<String>,
    pub(crate) hosts: usize,
    pub(crate) ports: usize,
    pub(crate) ips: usize,
}

impl Default for Unit {
    fn default() -> Self {
        Self {
            count: 1,
            cpu_milli: 1000,
            arch: None,
            memory_gib: 1,
            ephemeral_gib: 1,
            ram_gib: 0,
            persistent: None,
            gpus: 0,
            models: Vec::new(),
            hosts: 0,
            ports: 0,
            ips: 0,
        }
    }
}

const GIB: u64 = 1 << 30;

impl Unit {
    fn to_spec(&self, id: u32) -> SpecUnit {
        let volume = |name: &str, gib: u64, attributes: &[(&str, &str)]| Volume {
            name: name.to_owned(),
            size: Quantity(gib * GIB),
            attributes: attributes.iter().map(|(key, value)| Attribute::new(*key, *value)).collect(),
        };
        let mut storage = vec![volume("default", self.ephemeral_gib, &[])];
        if self.ram_gib > 0 {
            storage.push(volume("shm", self.ram_gib, &[("class", "ram"), ("persistent", "false")]));
        }
        if let Some(class) = &self.persistent {
            storage.push(volume("data", 1, &[("class", class), ("persistent", "true")]));
        }
        let key = |model: &String| Attribute::new(format!("vendor/nvidia/model/{model}"), "true");
        let endpoints = [
            (EndpointKind::SharedHttp, self.hosts),
            (EndpointKind::RandomPort, self.ports),
            (EndpointKind::LeasedIp, self.ips),
        ];
        let endpoints = endpoints
            .into_iter()
            .flat_map(|(kind, count)| std::iter::repeat_n(Endpoint { kind, sequence_number: 0 }, count));
        SpecUnit {
            resource: Resources {
                id,
                cpu: Cpu {
                    units: Quantity(self.cpu_milli),
                    attributes: self.arch.iter().map(|arch| Attribute::new("arch", arch)).collect(),
                },
                memory: Memory { size: Quantity(self.memory_gib * GIB) },
                storage,
                gpu: Gpu { units: Quantity(self.gpus), attributes: self.models.iter().map(key).collect() },
                endpoints: endpoints.collect(),
            },
            count: self.count,
        }
    }
}

/// The spec of a group with these units, numbered from 1.
pub(crate) fn spec(requirements: Requirements, units: &[Unit]) -> OrderSpec {
    let resources = (1..).zip(units).map(|(id, unit)| unit.to_spec(id)).collect();
    OrderSpec { name: "group".to_owned(), requirements, resources }
}
