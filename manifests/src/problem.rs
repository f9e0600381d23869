//! What is wrong with a document, and what is merely odd.

use std::fmt;

use serde::{Serialize, Serializer};

/// A reason to refuse a document: the kind for programs, the place and a sentence with the remedy for people.
///
/// Never carries the content of `env` or `credentials`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Stable code of the rule that was broken.
    pub kind: ErrorKind,
    /// Where in the document's tree, as `services.web.expose[0].port`; empty for the document as a whole.
    pub path: String,
    /// Line of the text, from 1; 0 where there is no text to point at.
    pub line: u32,
    /// Column of the text in characters, from 1; 0 where there is no text to point at.
    pub column: u32,
    /// What is wrong, a colon, and what would be right.
    pub message: String,
}

impl Problem {
    pub(crate) fn at(kind: ErrorKind, path: String, mark: Mark, message: String) -> Self {
        Problem { kind, path, line: mark.line, column: mark.column, message }
    }

    /// What is wrong: the message up to the colon.
    pub fn fault(&self) -> &str {
        self.parts().0
    }

    /// What would be right: the message after the colon.
    pub fn remedy(&self) -> &str {
        self.parts().1
    }

    /// The message at its first colon that stands in no quoted text.
    fn parts(&self) -> (&str, &str) {
        let mut quoted = false;
        let mut escaped = false;
        for (at, character) in self.message.char_indices() {
            match character {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                ':' if !quoted && self.message[at + 1..].starts_with(' ') => {
                    return (&self.message[..at], &self.message[at + 2..]);
                }
                _ => {}
            }
        }
        (&self.message, "")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match self.line {
            0 => write!(f, " [{}]", self.kind),
            line => write!(f, " (line {line}, column {}) [{}]", self.column, self.kind),
        }
    }
}

impl std::error::Error for Problem {}

/// Something that is accepted but probably not meant, such as a misspelt key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// Where in the document's tree.
    pub path: String,
    /// Line of the text, from 1.
    pub line: u32,
    /// Column of the text in characters, from 1.
    pub column: u32,
    /// What is odd and what happens with it.
    pub message: String,
}

impl Warning {
    pub(crate) fn at(path: String, mark: Mark, message: String) -> Self {
        Warning { path, line: mark.line, column: mark.column, message }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (line {}, column {})", self.path, self.message, self.line, self.column)
    }
}

macro_rules! error_kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// The rules of the language that a document can break. The code is stable: programs may match on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorKind {
            $($(#[$doc])* $name,)*
        }

        impl ErrorKind {
            /// The stable code, in kebab case.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(ErrorKind::$name => $code,)*
                }
            }
        }
    };
}

error_kinds! {
    /// Not well-formed YAML, a wrong encoding, an unknown alias.
    YamlSyntax = "yaml-syntax",
    /// A value of the wrong shape, or a number out of its type's range.
    YamlType = "yaml-type",
    /// A key twice in one mapping.
    YamlDuplicateKey = "yaml-duplicate-key",
    /// No content at all.
    DocumentEmpty = "document-empty",
    /// More text, or more repetition through aliases, than is read.
    DocumentTooLarge = "document-too-large",
    /// The manifest would be larger than a provider takes.
    ManifestTooLarge = "manifest-too-large",
    /// JSON that is not a manifest.
    ManifestMalformed = "manifest-malformed",
    /// A key that `x-berth` does not have.
    ExtensionUnknownKey = "extension-unknown-key",
    /// A value under `x-berth` that is out of range or does not fit what stands beside it.
    ExtensionInvalid = "extension-invalid",
    /// No `version`.
    VersionMissing = "version-missing",
    /// `version` is no version.
    VersionMalformed = "version-malformed",
    /// `version` is neither 2.0 nor from 2.1 on.
    VersionUnsupported = "version-unsupported",
    /// A key at the top that the language does not have.
    TopLevelUnknownKey = "top-level-unknown-key",
    /// An amount that does not read as one.
    QuantityMalformed = "quantity-malformed",
    /// An amount below zero.
    QuantityNegative = "quantity-negative",
    /// A key of `cpu.attributes` other than `arch`.
    CpuUnknownAttribute = "cpu-unknown-attribute",
    /// A key of `gpu` other than `units` and `attributes`.
    GpuUnknownKey = "gpu-unknown-key",
    /// A key of `gpu.attributes` other than `vendor`.
    GpuUnknownAttribute = "gpu-unknown-attribute",
    /// `gpu.attributes` without `vendor`.
    GpuVendorMissing = "gpu-vendor-missing",
    /// An interface other than `pcie` and `sxm`.
    GpuInterfaceInvalid = "gpu-interface-invalid",
    /// A model that does not make an attribute key, or one twice.
    GpuAttributeKeyInvalid = "gpu-attribute-key-invalid",
    /// GPUs without a model.
    GpuAttributesMissing = "gpu-attributes-missing",
    /// A model without GPUs.
    GpuAttributesWithoutUnits = "gpu-attributes-without-units",
    /// Two volumes of one name.
    StorageDuplicateName = "storage-duplicate-name",
    /// A storage attribute other than `class` and `persistent`.
    StorageUnknownAttribute = "storage-unknown-attribute",
    /// A class for a volume that is not persistent.
    StorageClassOnEphemeral = "storage-class-on-ephemeral",
    /// A persistent volume in memory.
    StorageRamPersistent = "storage-ram-persistent",
    /// A class that the language does not have.
    StorageClassUnknown = "storage-class-unknown",
    /// `persistent` is neither true nor false.
    StoragePersistentNotBool = "storage-persistent-not-bool",
    /// An amount of money that does not read as one.
    PriceMalformed = "price-malformed",
    /// A price of zero.
    PriceZero = "price-zero",
    /// A price below zero.
    PriceNegative = "price-negative",
    /// A currency that does not read as one.
    PriceDenomInvalid = "price-denom-invalid",
    /// A price above the limit.
    PriceOverLimit = "price-over-limit",
    /// A host name that cannot stand in a URL.
    AcceptMalformed = "accept-malformed",
    /// A protocol other than TCP and UDP.
    ProtocolUnsupported = "protocol-unsupported",
    /// An HTTP option above its limit.
    HttpOptionOverLimit = "http-option-over-limit",
    /// An unknown case for trying the next replica.
    NextCaseUnknown = "next-case-unknown",
    /// `off` beside other cases.
    NextCaseOffMixed = "next-case-off-mixed",
    /// An unknown trusted execution environment.
    TeeUnsupported = "tee-unsupported",
    /// `cpu-gpu` without GPUs.
    TeeNeedsGpu = "tee-needs-gpu",
    /// Two environments in one placement.
    TeeConflict = "tee-conflict",
    /// A reclamation window that is no duration.
    ReclamationMalformed = "reclamation-malformed",
    /// A reclamation window of nothing.
    ReclamationNotPositive = "reclamation-not-positive",
    /// An endpoint's name.
    EndpointNameInvalid = "endpoint-name-invalid",
    /// An endpoint without `kind`.
    EndpointKindMissing = "endpoint-kind-missing",
    /// An endpoint's kind other than `ip`.
    EndpointKindUnknown = "endpoint-kind-unknown",
    /// An endpoint that no deployed service uses.
    EndpointUnused = "endpoint-unused",
    /// A deployment names a compute profile that is not there.
    ComputeProfileUnknown = "compute-profile-unknown",
    /// A deployment names a placement that is not there.
    PlacementProfileUnknown = "placement-profile-unknown",
    /// The placement has no price for the compute profile.
    PricingMissing = "pricing-missing",
    /// A deployment names a service that is not there.
    ServiceUnknown = "service-unknown",
    /// Credentials without host.
    CredentialsHostMissing = "credentials-host-missing",
    /// Credentials without user name.
    CredentialsUsernameMissing = "credentials-username-missing",
    /// Credentials without password.
    CredentialsPasswordMissing = "credentials-password-missing",
    /// A leased IP for something that is not global.
    IpNotGlobal = "ip-not-global",
    /// A leased IP that is not declared.
    IpEndpointUnknown = "ip-endpoint-unknown",
    /// One port of a leased IP twice.
    IpPortConflict = "ip-port-conflict",
    /// A mount of a volume that is not there.
    ParamsVolumeUnknown = "params-volume-unknown",
    /// A mount that is no absolute path.
    MountNotAbsolute = "mount-not-absolute",
    /// Two mounts at one path.
    MountDuplicate = "mount-duplicate",
    /// A persistent volume that nothing mounts.
    PersistentUnmounted = "persistent-unmounted",
    /// A memory volume that may not be written.
    RamReadonly = "ram-readonly",
    /// Nothing is deployed.
    NoGroups = "no-groups",
    /// A placement without a name.
    GroupNameEmpty = "group-name-empty",
    /// Two currencies in one placement.
    DenomMixedInGroup = "denom-mixed-in-group",
    /// Two currencies in one document.
    DenomMixedAcrossGroups = "denom-mixed-across-groups",
    /// A used compute profile without `cpu`.
    CpuMissing = "cpu-missing",
    /// A used compute profile without `memory`.
    MemoryMissing = "memory-missing",
    /// A used compute profile without `storage`.
    StorageMissing = "storage-missing",
    /// Processor of one replica.
    CpuOutOfRange = "cpu-out-of-range",
    /// GPUs of one replica.
    GpuOutOfRange = "gpu-out-of-range",
    /// Memory of one replica.
    MemoryOutOfRange = "memory-out-of-range",
    /// One volume.
    StorageOutOfRange = "storage-out-of-range",
    /// A processor attribute twice.
    CpuAttributeKeyInvalid = "cpu-attribute-key-invalid",
    /// Processor of the group.
    TotalCpuOutOfRange = "total-cpu-out-of-range",
    /// GPUs of the group.
    TotalGpuOutOfRange = "total-gpu-out-of-range",
    /// Memory of the group.
    TotalMemoryOutOfRange = "total-memory-out-of-range",
    /// A service without a name.
    ServiceNameEmpty = "service-name-empty",
    /// A service's name.
    ServiceNameInvalid = "service-name-invalid",
    /// A service without image.
    ImageEmpty = "image-empty",
    /// The name of an environment variable.
    EnvNameInvalid = "env-name-invalid",
    /// A port.
    PortOutOfRange = "port-out-of-range",
    /// A host name.
    HostnameInvalid = "hostname-invalid",
    /// One host name twice.
    HostnameDuplicate = "hostname-duplicate",
    /// Nothing is reachable from outside.
    NoGlobalService = "no-global-service",
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for ErrorKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A place in the text, both from 1; the column counts characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Mark {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// Text of the document between quotes, on one line and not too long.
pub(crate) fn shown(text: &str) -> String {
    let mut quoted = String::from("\"");
    push_escaped(&mut quoted, text, |character| character.is_control() || matches!(character, '"' | '\\'));
    quoted.push('"');
    quoted
}

/// Longest text that a message repeats, in characters.
const MAX_SHOWN: usize = 80;

/// Adds the key of a path, on one line and not too long.
pub(crate) fn push_key(target: &mut String, key: &str) {
    push_escaped(target, key, char::is_control);
}

fn push_escaped(target: &mut String, text: &str, is_special: fn(char) -> bool) {
    let mut characters = text.chars();
    for character in characters.by_ref().take(MAX_SHOWN) {
        if is_special(character) {
            target.extend(character.escape_default());
        } else {
            target.push(character);
        }
    }
    if characters.next().is_some() {
        target.push('…');
    }
}
