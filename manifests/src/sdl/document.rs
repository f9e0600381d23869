//! The document as its author wrote it: every section decoded, nothing yet resolved or checked against anything else.
//!
//! Texts borrow from the tree. Everything that a later step may complain about carries its place.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::time::Duration;

use crate::extension::Extension;
use crate::problem::Mark;
use crate::resources::Attribute;
use crate::terms::Award;

/// A whole document. Maps are in ascending byte order of names, as the language visits them.
#[derive(Debug)]
pub(crate) struct Document<'t> {
    pub(crate) level: Level,
    pub(crate) services: BTreeMap<&'t str, Service<'t>>,
    pub(crate) compute: BTreeMap<&'t str, Compute<'t>>,
    pub(crate) placement: BTreeMap<&'t str, Placement<'t>>,
    pub(crate) deployment: BTreeMap<&'t str, BTreeMap<&'t str, Deploy<'t>>>,
    pub(crate) endpoints: BTreeMap<&'t str, EndpointDeclaration<'t>>,
    pub(crate) reclamation: Option<At<&'t str>>,
}

/// Level of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    V2_0,
    V2_1,
}

/// A value with its place.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) mark: Mark,
}

impl<T> Deref for At<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

#[derive(Debug, Default)]
pub(crate) struct Service<'t> {
    pub(crate) mark: Mark,
    pub(crate) image: At<&'t str>,
    pub(crate) command: Option<Vec<&'t str>>,
    pub(crate) args: Option<Vec<&'t str>>,
    pub(crate) env: Option<Vec<At<&'t str>>>,
    pub(crate) expose: Vec<Expose<'t>>,
    pub(crate) params: Option<Params<'t>>,
    pub(crate) credentials: Option<Credentials<'t>>,
    pub(crate) extension: Option<ServiceExtension>,
}

/// What stands under a service's `x-berth`, when that is anything.
#[derive(Debug)]
pub(crate) struct ServiceExtension {
    pub(crate) mark: Mark,
    pub(crate) read: Extension,
    /// How long it is in the manifest.
    pub(crate) json_bytes: usize,
    /// Places of its parts by their paths in the document.
    pub(crate) marks: BTreeMap<String, Mark>,
}

impl ServiceExtension {
    /// Where the part of that path stands, or the nearest thing around it.
    pub(crate) fn mark_of(&self, path: &str) -> Mark {
        let mut path = path;
        loop {
            if let Some(mark) = self.marks.get(path) {
                return *mark;
            }
            let Some(end) = path.rfind(['.', '[']) else { return self.mark };
            path = &path[..end];
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Expose<'t> {
    pub(crate) mark: Mark,
    pub(crate) port: At<u32>,
    pub(crate) external: At<u32>,
    pub(crate) proto: At<&'t str>,
    pub(crate) to: Vec<To<'t>>,
    pub(crate) accept: Option<Vec<At<&'t str>>>,
    pub(crate) http_options: HttpOptions<'t>,
}

#[derive(Debug, Default)]
pub(crate) struct To<'t> {
    pub(crate) mark: Mark,
    pub(crate) global: bool,
    pub(crate) service: &'t str,
    pub(crate) ip: &'t str,
}

#[derive(Debug, Default)]
pub(crate) struct HttpOptions<'t> {
    pub(crate) max_body_size: At<u32>,
    pub(crate) read_timeout: At<u32>,
    pub(crate) send_timeout: At<u32>,
    pub(crate) next_tries: At<u32>,
    pub(crate) next_timeout: At<u32>,
    pub(crate) next_cases: Vec<At<&'t str>>,
    pub(crate) proxy_buffer_size: At<u32>,
}

#[derive(Debug, Default)]
pub(crate) struct Params<'t> {
    pub(crate) storage: BTreeMap<&'t str, Mount<'t>>,
    pub(crate) permissions: Option<Vec<&'t str>>,
    pub(crate) tee: At<&'t str>,
}

#[derive(Debug, Default)]
pub(crate) struct Mount<'t> {
    pub(crate) mark: Mark,
    pub(crate) mount: At<&'t str>,
    pub(crate) read_only: bool,
}

#[derive(Default)]
pub(crate) struct Credentials<'t> {
    pub(crate) mark: Mark,
    pub(crate) host: &'t str,
    pub(crate) email: &'t str,
    pub(crate) username: &'t str,
    pub(crate) password: &'t str,
}

impl std::fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(***)")
    }
}

/// A compute profile.
#[derive(Debug, Default)]
pub(crate) struct Compute<'t> {
    pub(crate) mark: Mark,
    pub(crate) cpu: Option<Cpu<'t>>,
    pub(crate) memory: Option<At<u64>>,
    pub(crate) storage: Vec<Volume<'t>>,
    pub(crate) gpu: Option<Gpu>,
}

#[derive(Debug, Default)]
pub(crate) struct Cpu<'t> {
    pub(crate) units: At<u64>,
    /// Values of `arch`, which may stand there more than once.
    pub(crate) arch: Vec<&'t str>,
}

#[derive(Debug, Default)]
pub(crate) struct Volume<'t> {
    pub(crate) name: &'t str,
    pub(crate) size: At<u64>,
    pub(crate) attributes: VolumeAttributes,
}

/// The attributes of a volume as they are stored.
#[derive(Clone, Debug, Default)]
pub(crate) struct VolumeAttributes {
    pub(crate) class: Option<&'static str>,
    pub(crate) persistent: Option<bool>,
}

#[derive(Debug, Default)]
pub(crate) struct Gpu {
    pub(crate) units: At<u64>,
    /// One for each model, sorted by key.
    pub(crate) attributes: Vec<Attribute>,
}

#[derive(Debug, Default)]
pub(crate) struct Placement<'t> {
    pub(crate) mark: Mark,
    pub(crate) attributes: BTreeMap<&'t str, &'t str>,
    pub(crate) all_of: Option<Vec<&'t str>>,
    pub(crate) any_of: Option<Vec<&'t str>>,
    /// `None` for a profile whose price is null.
    pub(crate) pricing: BTreeMap<&'t str, Option<Coin<'t>>>,
    pub(crate) wishes: TermWishes<'t>,
}

/// What stands under a placement's `x-berth`.
#[derive(Debug, Default)]
pub(crate) struct TermWishes<'t> {
    pub(crate) award: Award,
    pub(crate) deadline: Option<Duration>,
    pub(crate) min_reclaim: Option<Duration>,
    pub(crate) regions: Vec<&'t str>,
    pub(crate) max_latency: Option<Duration>,
}

/// A price that is above zero.
#[derive(Debug)]
pub(crate) struct Coin<'t> {
    pub(crate) mark: Mark,
    /// Units of 10^-18; amounts that do not fit are the largest value, which is far above every limit.
    pub(crate) amount: u128,
    pub(crate) denom: &'t str,
}

#[derive(Debug, Default)]
pub(crate) struct Deploy<'t> {
    pub(crate) mark: Mark,
    pub(crate) profile: &'t str,
    pub(crate) count: u32,
}

#[derive(Debug, Default)]
pub(crate) struct EndpointDeclaration<'t> {
    pub(crate) mark: Mark,
    pub(crate) kind: &'t str,
}
