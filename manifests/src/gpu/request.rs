//! Which devices a tenant takes.

use std::fmt;

use super::name::Name;
use super::table::TABLE;
use super::{Gpu, Interface, VENDOR};
use crate::resources::Attribute;

/// The models of which a tenant takes any, as the attribute keys of a resource unit say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuRequest(Vec<Wanted>);

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    /// `None` is the wildcard.
    model: Option<String>,
    ram_gib: Option<u32>,
    interface: Option<Interface>,
}

/// Why the attributes of a GPU request cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GpuKeyError {
    /// There is no attribute.
    #[error("GPUs are wanted but no model is named")]
    NoModel,
    /// An attribute of another form or vendor.
    #[error("GPU attribute \"{key}\" is not understood: {problem}")]
    NotUnderstood {
        /// The attribute's key.
        key: String,
        /// What about it.
        problem: &'static str,
    },
}

impl GpuRequest {
    /// Reads keys of the form `vendor/nvidia/model/<model>[/ram/<n>Gi][/interface/<pcie|sxm>]`.
    ///
    /// # Errors
    /// [`GpuKeyError`] for a key of another form or vendor; nothing is read by half. No key at all is an error too.
    pub fn from_keys<'a>(keys: impl IntoIterator<Item = &'a str>) -> Result<Self, GpuKeyError> {
        let wanted: Vec<Wanted> = keys.into_iter().map(Wanted::from_key).collect::<Result<_, _>>()?;
        if wanted.is_empty() {
            return Err(GpuKeyError::NoModel);
        }
        Ok(Self(wanted))
    }

    /// Reads the attributes of a resource unit's GPUs; their values are `true`.
    ///
    /// # Errors
    /// As [`GpuRequest::from_keys`], and for a value other than `true`.
    pub fn from_attributes(attributes: &[Attribute]) -> Result<Self, GpuKeyError> {
        if let Some(odd) = attributes.iter().find(|attribute| attribute.value != "true") {
            return Err(GpuKeyError::NotUnderstood {
                key: odd.key.clone(),
                problem: "its value is not \"true\"",
            });
        }
        Self::from_keys(attributes.iter().map(|attribute| attribute.key.as_str()))
    }

    /// Whether a device of this pool would do.
    ///
    /// Memory is a least amount. An interface that is not known never answers a request for one, and the wildcard takes
    /// whole cards only.
    #[must_use]
    pub fn matches(&self, gpu: &Gpu) -> bool {
        self.0.iter().any(|wanted| wanted.matches(gpu))
    }
}

/// `h100 80Gi sxm or a100`.
impl fmt::Display for GpuRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, wanted) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" or ")?;
            }
            f.write_str(wanted.model.as_deref().unwrap_or("any"))?;
            if let Some(gib) = wanted.ram_gib {
                write!(f, " {gib}Gi")?;
            }
            if let Some(interface) = wanted.interface {
                write!(f, " {interface}")?;
            }
        }
        Ok(())
    }
}

impl Wanted {
    fn from_key(key: &str) -> Result<Self, GpuKeyError> {
        let wrong = |problem| GpuKeyError::NotUnderstood { key: key.to_owned(), problem };
        let rest = key.strip_prefix("vendor/").ok_or_else(|| wrong("it does not begin with vendor/"))?;
        let (vendor, rest) = rest
            .split_once("/model/")
            .ok_or_else(|| wrong("it names no vendor and model as vendor/<v>/model/<m>"))?;
        if vendor != VENDOR {
            return Err(wrong("only vendor nvidia is offered"));
        }
        let (rest, interface) = match rest.rsplit_once("/interface/") {
            Some((rest, word)) => {
                let interface = Interface::from_word(word)
                    .ok_or_else(|| wrong("the interface is neither pcie nor sxm"))?;
                (rest, Some(interface))
            }
            None => (rest, None),
        };
        let (model, ram_gib) = match rest.rsplit_once("/ram/") {
            Some((model, ram)) => {
                let gib = ram.strip_suffix("Gi").and_then(|digits| digits.parse().ok());
                (model, Some(gib.ok_or_else(|| wrong("the memory is not a whole number of Gi"))?))
            }
            None => (rest, None),
        };
        if model == "*" {
            return Ok(Self { model: None, ram_gib, interface });
        }
        let name = Name::of_request(model);
        if name.slug.is_empty() {
            return Err(wrong("the model is empty"));
        }
        Ok(Self {
            model: Some(name.slug),
            ram_gib: ram_gib.max(name.ram_gib),
            interface: interface.or(name.interface),
        })
    }

    fn matches(&self, gpu: &Gpu) -> bool {
        let model = match &self.model {
            Some(model) => answers_to(gpu.model(), model),
            None => !gpu.is_mig(),
        };
        model
            && self.ram_gib.is_none_or(|least| gpu.ram_gib >= least)
            && self.interface.is_none_or(|interface| gpu.interface == Some(interface))
    }
}

/// Whether a device of the slug may be asked for as `name`.
fn answers_to(slug: &str, name: &str) -> bool {
    // The series is dropped in speech: 4090, a5000, pro6000se.
    let without_series = ["rtx", "gtx"].iter().find_map(|series| slug.strip_prefix(series));
    slug == name
        || without_series == Some(name)
        || TABLE.has_alias(slug, name)
        || TABLE.has_alias(slug, &format!("rtx{name}"))
}
