//! What a replica gets: processor, memory, volumes, GPUs and endpoints, as the manifest and the group specs tell it.
//!
//! Amounts are whole numbers of the smallest unit. In JSON they stand as `{"val":"123"}`, a decimal string, so that a
//! reader without 64-bit integers keeps them exact.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeStruct};

/// Resources of one replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Number of the resource unit in its group, from 1.
    pub id: u32,
    /// Processor.
    pub cpu: Cpu,
    /// Memory.
    pub memory: Memory,
    /// Volumes in the language's order: by size, then ephemeral before persistent, then its tie rules.
    pub storage: Vec<Volume>,
    /// GPUs.
    pub gpu: Gpu,
    /// Entrances from outside that the provider has to offer.
    pub endpoints: Vec<Endpoint>,
}

/// A whole number of the smallest unit of a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity(pub u64);

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Quantity", 1)?;
        object.serialize_field("val", &self.0.to_string())?;
        object.end()
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Wire {
            val: String,
        }
        let Wire { val } = Wire::deserialize(deserializer)?;
        let canonical = val == "0" || (!val.starts_with('0') && val.bytes().all(|b| b.is_ascii_digit()));
        match val.parse() {
            Ok(value) if canonical => Ok(Quantity(value)),
            _ => Err(de::Error::custom(
                "a quantity is not a decimal whole number below 2^64 without leading zeros",
            )),
        }
    }
}

/// Processor of one replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cpu {
    /// Thousandths of a core.
    pub units: Quantity,
    /// At most `arch`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<Attribute>,
}

/// Memory of one replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Bytes.
    pub size: Quantity,
}

/// One volume of one replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Name, unique within the replica; `default` is the container's own file system.
    pub name: String,
    /// Bytes.
    pub size: Quantity,
    /// `class` and `persistent`, sorted by key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<Attribute>,
}

impl Volume {
    /// Whether the volume outlives its pod.
    pub fn persistent(&self) -> bool {
        self.attribute("persistent") == Some("true")
    }

    /// Storage class: `default`, `beta1`, `beta2`, `beta3` or `ram`. A persistent volume may have none.
    pub fn class(&self) -> Option<&str> {
        self.attribute("class")
    }

    /// The class that a persistent volume is claimed from: its own, or `default`.
    #[must_use]
    pub fn claimed_class(&self) -> &str {
        self.class().unwrap_or("default")
    }

    fn attribute(&self, key: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|attribute| attribute.key == key)
            .map(|attribute| attribute.value.as_str())
    }
}

/// GPUs of one replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// Whole GPUs.
    pub units: Quantity,
    /// Models of which any one will do, as keys `vendor/nvidia/model/<model>[/ram/<n>Gi][/interface/<pcie|sxm>]`
    /// with the value `true`, sorted by key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<Attribute>,
}

/// A key with its value; either may be empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attribute {
    /// Key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// Value.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
}

impl Attribute {
    /// An attribute from its two texts.
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Attribute { key: key.into(), value: value.into() }
    }
}

/// An entrance from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// What sort of entrance.
    #[serde(default, skip_serializing_if = "EndpointKind::is_shared_http")]
    pub kind: EndpointKind,
    /// Which leased IP of the deployment; 0 for the other kinds.
    pub sequence_number: u32,
}

/// Sort of an entrance from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum EndpointKind {
    /// A host name at the provider's shared HTTP entrance.
    #[default]
    SharedHttp,
    /// A port of the provider's choice.
    RandomPort,
    /// An IP address of its own.
    LeasedIp,
}

impl EndpointKind {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands the field over by reference")]
    fn is_shared_http(&self) -> bool {
        *self == EndpointKind::SharedHttp
    }
}

impl From<EndpointKind> for u8 {
    fn from(kind: EndpointKind) -> u8 {
        match kind {
            EndpointKind::SharedHttp => 0,
            EndpointKind::RandomPort => 1,
            EndpointKind::LeasedIp => 2,
        }
    }
}

impl TryFrom<u8> for EndpointKind {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, Self::Error> {
        match number {
            0 => Ok(EndpointKind::SharedHttp),
            1 => Ok(EndpointKind::RandomPort),
            2 => Ok(EndpointKind::LeasedIp),
            other => Err(format!("endpoint kind {other} is unknown; 0, 1 and 2 are")),
        }
    }
}
