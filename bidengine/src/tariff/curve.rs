//! Prices that follow what is left: a factor for each share of a resource that is used.
//!
//! The first point's factor is the floor and the last one's the ceiling: whatever is used, the factor lies between them. A
//! curve never falls, so that a price never does either while more is taken.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::factor::{Factor, Share};
use super::usage::{Resource, Usage};

/// A factor by how much of a resource is used: straight lines between points, level before the first, which is the floor,
/// and after the last, which is the ceiling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Point>", into = "Vec<Point>")]
pub(super) struct Curve(Vec<Point>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Point {
    used: Share,
    multiply: Factor,
}

impl TryFrom<Vec<Point>> for Curve {
    type Error = String;

    fn try_from(points: Vec<Point>) -> Result<Self, String> {
        if points.is_empty() {
            return Err(
                "a curve needs at least one point, such as {used: \"0.5\", multiply: \"1\"}".to_owned()
            );
        }
        for pair in points.windows(2) {
            let (before, after) = (pair[0], pair[1]);
            if after.used <= before.used {
                return Err(format!(
                    "the points of a curve go from little used to much: {} stands after {}",
                    after.used, before.used
                ));
            }
            if after.multiply < before.multiply {
                return Err(format!(
                    "a curve never falls: at {} used it is {}, before that it is {}",
                    after.used, after.multiply, before.multiply
                ));
            }
        }
        Ok(Self(points))
    }
}

impl From<Curve> for Vec<Point> {
    fn from(curve: Curve) -> Self {
        curve.0
    }
}

impl Curve {
    fn at(&self, used: Share) -> Factor {
        let point = |point: &Point| (point.used, point.multiply);
        let after = self.0.iter().position(|point| point.used >= used);
        match after {
            Some(0) => self.0[0].multiply,
            Some(after) => Factor::between_up(point(&self.0[after - 1]), point(&self.0[after]), used),
            None => self.0[self.0.len() - 1].multiply,
        }
    }
}

/// The curves of the resources that have one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Curves {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cpu: Option<Curve>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memory: Option<Curve>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ephemeral: Option<Curve>,
    /// By class.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    storage: BTreeMap<String, Curve>,
    /// For each pool by what is used of that pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gpu: Option<Curve>,
}

impl Curves {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The factor for a resource as it is used now, and how much that is; `None` without a curve.
    pub(super) fn factor(&self, resource: Resource<'_>, usage: &Usage<'_>) -> Option<(Share, Factor)> {
        let curve = match resource {
            Resource::Cpu => self.cpu.as_ref(),
            Resource::Memory => self.memory.as_ref(),
            Resource::Ephemeral => self.ephemeral.as_ref(),
            Resource::Storage(class) => self.storage.get(class),
            Resource::Gpu(_) | Resource::Gpus => self.gpu.as_ref(),
        }?;
        let used = usage.of(resource);
        Some((used, curve.at(used)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(text: &str) -> Result<Curve, serde_yaml::Error> {
        serde_yaml::from_str(text)
    }

    #[test]
    fn between_points_a_curve_is_straight_and_beyond_them_level() {
        let curve =
            curve(r#"[{used: "0.5", multiply: "0.8"}, {used: "0.9", multiply: "2"}]"#).expect("a curve");
        for (used, factor) in [("0", "0.8"), ("0.5", "0.8"), ("0.7", "1.4"), ("0.9", "2"), ("1", "2")] {
            assert_eq!(curve.at(used.parse().expect(used)).to_string(), factor, "at {used}");
        }
    }

    #[test]
    fn a_curve_that_falls_or_turns_back_is_refused() {
        for (text, problem) in [
            ("[]", "at least one point"),
            (r#"[{used: "0.5", multiply: "1"}, {used: "0.5", multiply: "2"}]"#, "from little used to much"),
            (r#"[{used: "0", multiply: "1"}, {used: "1", multiply: "0.5"}]"#, "never falls"),
            (r#"[{used: "2", multiply: "1"}]"#, "not a share"),
        ] {
            let error = curve(text).expect_err(text).to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}
