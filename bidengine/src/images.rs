//! Which container images the operator runs, by where they come from.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Patterns of images that are run and of images that are not. Without any, every image is run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Images {
    /// Only these are run; every image when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<ImagePattern>,
    /// These are not run, whatever `allow` says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<ImagePattern>,
}

/// Images by registry and repository: `ghcr.io/example/*`. A `*` stands for any letters within a part of the path, `**` as the
/// last part for everything below; what names no registry is at `docker.io`, and a single name there is below `library`. A
/// pattern speaks of all tags of a repository, unless it ends in one: `docker.io/library/nginx:1.*`. Letter case does not
/// count.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImagePattern {
    written: String,
    repository: Vec<String>,
    tag: Option<String>,
}

/// Why an image is not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageRefused {
    /// The operator does not run such images.
    #[error("the image {image} is not run here: the provider's policy refuses {pattern}")]
    Denied {
        /// The image, normalised.
        image: String,
        /// The pattern that refuses it.
        pattern: String,
    },
    /// The operator runs other images only.
    #[error("the image {image} is not run here: the provider's policy runs only {patterns}")]
    NotAllowed {
        /// The image, normalised.
        image: String,
        /// The patterns of those that are run.
        patterns: String,
    },
}

impl Images {
    /// Whether every image is run.
    #[must_use]
    pub fn is_any(&self) -> bool {
        *self == Self::default()
    }

    /// Whether an image is run, as its reference is written.
    ///
    /// # Errors
    /// [`ImageRefused`] says which pattern is against it.
    pub fn admit(&self, reference: &str) -> Result<(), ImageRefused> {
        let image = Reference::read(reference);
        if let Some(pattern) = self.deny.iter().find(|pattern| pattern.matches(&image)) {
            return Err(ImageRefused::Denied { image: image.to_string(), pattern: pattern.to_string() });
        }
        if self.allow.is_empty() || self.allow.iter().any(|pattern| pattern.matches(&image)) {
            return Ok(());
        }
        let patterns: Vec<String> = self.allow.iter().map(ToString::to_string).collect();
        Err(ImageRefused::NotAllowed { image: image.to_string(), patterns: patterns.join(", ") })
    }
}

/// An image's reference in full: where a pull without a registry goes is said, and so is the tag that is pulled.
struct Reference {
    /// Registry first.
    repository: Vec<String>,
    /// `None` where only a digest is named.
    tag: Option<String>,
}

impl Reference {
    fn read(reference: &str) -> Self {
        let (name, digest) = match reference.trim().split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (reference.trim(), None),
        };
        let (repository, tag) = split_tag(name);
        let tag = tag.map(str::to_owned).or_else(|| digest.is_none().then(|| "latest".to_owned()));
        Self { repository: in_full(repository), tag }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository.join("/"))?;
        self.tag.as_ref().map_or(Ok(()), |tag| write!(f, ":{tag}"))
    }
}

/// A colon before the last slash belongs to the registry's port.
fn split_tag(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (name, None),
    }
}

const DOCKER: &str = "docker.io";

/// The parts of a repository, its registry first, as those who pull read it.
fn in_full(repository: &str) -> Vec<String> {
    let lower = repository.to_ascii_lowercase();
    let mut parts: Vec<String> = lower.split('/').map(str::to_owned).collect();
    let is_registry = |part: &String| part.contains(['.', ':', '*']) || part == "localhost";
    if parts.len() < 2 || !is_registry(&parts[0]) {
        parts.insert(0, DOCKER.to_owned());
    }
    // Docker's registry has two names of old.
    if matches!(parts[0].as_str(), "index.docker.io" | "registry-1.docker.io") {
        DOCKER.clone_into(&mut parts[0]);
    }
    if parts[0] == DOCKER && parts.len() == 2 && parts[1] != "**" {
        parts.insert(1, "library".to_owned());
    }
    parts
}

impl ImagePattern {
    fn matches(&self, image: &Reference) -> bool {
        let tag_fits = match (&self.tag, &image.tag) {
            (None, _) => true,
            (Some(pattern), Some(tag)) => fits(pattern.as_bytes(), tag.as_bytes()),
            (Some(_), None) => false,
        };
        let (pattern, below) = match self.repository.split_last() {
            Some((last, before)) if last == "**" => (before, true),
            _ => (self.repository.as_slice(), false),
        };
        let long_enough = if below {
            image.repository.len() > pattern.len()
        } else {
            image.repository.len() == pattern.len()
        };
        let mut parts = pattern.iter().zip(&image.repository);
        tag_fits && long_enough && parts.all(|(pattern, part)| fits(pattern.as_bytes(), part.as_bytes()))
    }
}

/// Whether a text is what a pattern with `*` for any letters says. Walks each once, going back to the last star only.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star = None;
    while from < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(letter) if *letter == text[from] => (at, from) = (at + 1, from + 1),
            _ => match star {
                Some((starred, taken)) => {
                    star = Some((starred, taken + 1));
                    (at, from) = (starred + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|letter| *letter == b'*')
}

impl FromStr for ImagePattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            |why: &str| Err(format!("\"{text}\" is no pattern of images: {why}, such as ghcr.io/example/*"));
        if text.is_empty() || text.contains(char::is_whitespace) || text.contains('@') {
            return wrong("write registry and repository, without a digest");
        }
        let (repository, tag) = split_tag(text);
        let parts: Vec<&str> = repository.split('/').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return wrong("no part of the path may be empty");
        }
        if parts.iter().rev().skip(1).any(|part| part.contains("**")) {
            return wrong("** stands for everything below and only at the end");
        }
        let repository = if repository == "**" { vec!["**".to_owned()] } else { in_full(repository) };
        Ok(Self { written: text.to_owned(), repository, tag: tag.map(str::to_owned) })
    }
}

impl fmt::Display for ImagePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl Serialize for ImagePattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ImagePattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> ImagePattern {
        text.parse().expect(text)
    }

    #[test]
    fn a_pattern_speaks_of_where_an_image_really_comes_from() {
        for (pattern_text, image, is_so) in [
            ("nginx", "nginx", true),
            ("nginx", "nginx:1.27", true),
            ("nginx", "docker.io/library/nginx@sha256:00", true),
            ("nginx", "index.docker.io/library/NGINX:latest", true),
            ("nginx", "evil/nginx", false),
            ("nginx", "ghcr.io/library/nginx", false),
            ("docker.io/library/*", "redis", true),
            ("docker.io/library/*", "bitnami/redis", false),
            ("docker.io/**", "bitnami/redis", true),
            ("docker.io/**", "ghcr.io/bitnami/redis", false),
            ("ghcr.io/example/*", "ghcr.io/example/web:2", true),
            ("ghcr.io/example/*", "ghcr.io/example/web/deep", false),
            ("ghcr.io/example/**", "ghcr.io/example/web/deep", true),
            ("ghcr.io/example/**", "ghcr.io/example", false),
            ("ghcr.io/example/*", "ghcr.io.evil.example/example/web", false),
            ("registry.local:5000/a/*", "registry.local:5000/a/b:c", true),
            ("registry.local:5000/a/*", "registry.local/a/b:c", false),
            ("*/miners/**", "quay.io/miners/xmr", true),
            ("*xmrig*", "docker.io/library/xmrig-cuda", true),
            ("nginx:1.*", "nginx:1.27", true),
            ("nginx:1.*", "nginx", false),
            ("nginx:latest", "nginx", true),
            ("nginx:1.*", "nginx@sha256:00", false),
            ("**", "anything.example/at/all:x", true),
        ] {
            let fits = pattern(pattern_text).matches(&Reference::read(image));
            assert_eq!(fits, is_so, "{pattern_text} and {image}");
        }
    }

    #[test]
    fn what_is_denied_is_refused_and_so_is_what_is_not_allowed() {
        let images = Images {
            allow: vec![pattern("ghcr.io/example/**"), pattern("docker.io/library/*")],
            deny: vec![pattern("ghcr.io/example/miner*")],
        };
        assert_eq!(images.admit("nginx:1"), Ok(()));
        let told = images.admit("ghcr.io/example/miner-cuda:3").expect_err("denied").to_string();
        assert!(
            told.contains("ghcr.io/example/miner-cuda:3") && told.contains("ghcr.io/example/miner*"),
            "{told}"
        );
        let told = images.admit("quay.io/a/b").expect_err("not allowed").to_string();
        assert!(told.contains("runs only ghcr.io/example/**, docker.io/library/*"), "{told}");
        assert_eq!(Images::default().admit("anything"), Ok(()));
    }

    #[test]
    fn a_pattern_that_means_nothing_is_refused() {
        for text in ["", "a//b", "a b", "nginx@sha256:00", "ghcr.io/**/x"] {
            assert!(text.parse::<ImagePattern>().expect_err(text).contains("such as"), "{text}");
        }
        let stored = serde_json::to_string(&pattern("Nginx:1.*")).expect("is JSON");
        assert_eq!(serde_json::from_str::<ImagePattern>(&stored).expect("reads back"), pattern("Nginx:1.*"));
    }

    #[test]
    fn stars_find_their_letters_whatever_comes_between() {
        for (pattern, text, is_so) in [
            ("a*b*c", "axxbxxc", true),
            ("a*b*c", "axxbxx", false),
            ("*", "", true),
            ("**a", "bba", true),
            ("a", "", false),
            ("*ab", "aab", true),
        ] {
            assert_eq!(fits(pattern.as_bytes(), text.as_bytes()), is_so, "{pattern} {text}");
        }
    }
}
