//! What changes prices or refuses orders: the operator's rules, in their order.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use manifests::decision::Reason;
use manifests::order::Address;
use manifests::resources::Attribute;
use serde::{Deserialize, Serialize};

use super::factor::{Factor, Share};
use super::usage::{Resource, Usage};
use crate::fx::Fx;

/// A rule: when all that it names is so, it multiplies the price or declines the order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rule {
    /// What it is called in line items and reasons.
    pub(super) name: String,
    /// What must be so; nothing is always so.
    #[serde(rename = "match", default)]
    when: When,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    multiply: Option<Factor>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    decline: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct When {
    /// One of these orders.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    tenants: BTreeSet<Address>,
    /// It asks for GPUs, or for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu: Option<bool>,
    /// Its placement asks for these attributes, such as `region: eu-west`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<String, String>,
    /// On these days.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    days: BTreeSet<Day>,
    /// Between these times of the day.
    #[serde(skip_serializing_if = "Option::is_none")]
    hours: Option<Hours>,
    /// Fewer GPUs are free than this, on all nodes that take pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    gpus_free_below: Option<u64>,
    /// More is used than these shares.
    #[serde(skip_serializing_if = "Levels::is_empty")]
    used_above: Levels,
    /// Less is used than these shares.
    #[serde(skip_serializing_if = "Levels::is_empty")]
    used_below: Levels,
}

/// Shares of resources that are used, on all nodes that take pods.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Levels {
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu: Option<Share>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<Share>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ephemeral: Option<Share>,
    /// Of the GPUs of all pools.
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu: Option<Share>,
    /// By class.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    storage: BTreeMap<String, Share>,
}

impl Levels {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether what is used stands to each named share as `stands` wants it.
    fn all(&self, usage: &Usage<'_>, stands: impl Fn(Share, Share) -> bool) -> bool {
        let Self { cpu, memory, ephemeral, gpu, storage } = self;
        let single = [
            (Resource::Cpu, cpu),
            (Resource::Memory, memory),
            (Resource::Ephemeral, ephemeral),
            (Resource::Gpus, gpu),
        ];
        let single = single.into_iter().filter_map(|(resource, share)| Some((resource, (*share)?)));
        let storage = storage.iter().map(|(class, share)| (Resource::Storage(class), *share));
        single.chain(storage).all(|(resource, share)| stands(usage.of(resource), share))
    }
}

/// A day of the week in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

const MINUTES_A_DAY: u64 = 24 * 60;

impl Day {
    /// The day of a unix second; the first one was a Thursday.
    fn of(second: u64) -> Self {
        const FROM_THE_FIRST: [Day; 7] =
            [Day::Thu, Day::Fri, Day::Sat, Day::Sun, Day::Mon, Day::Tue, Day::Wed];
        let days = usize::try_from(second / (MINUTES_A_DAY * 60) % 7).unwrap_or(0);
        FROM_THE_FIRST[days]
    }
}

/// A part of each day in UTC, written `22:00-06:00`: from the first minute on, up to the second, over midnight if it is
/// the earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Hours {
    from: u64,
    to: u64,
}

impl FromStr for Hours {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let minute = |text: &str| -> Option<u64> {
            let (hour, minute) = text.split_once(':')?;
            let number = |text: &str| text.parse().ok().filter(|_| text.len() == 2);
            let (hour, minute): (u64, u64) = (number(hour)?, number(minute)?);
            (hour < 24 && minute < 60).then_some(hour * 60 + minute)
        };
        let both = text.split_once('-').and_then(|(from, to)| Some((minute(from)?, minute(to)?)));
        match both {
            Some((from, to)) if from != to => Ok(Self { from, to }),
            _ => Err(format!(
                "\"{text}\" are no hours: write two times of the day in UTC, such as 22:00-06:00"
            )),
        }
    }
}

impl TryFrom<String> for Hours {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Hours> for String {
    fn from(hours: Hours) -> Self {
        let clock = |minute: u64| format!("{:02}:{:02}", minute / 60, minute % 60);
        format!("{}-{}", clock(hours.from), clock(hours.to))
    }
}

impl Hours {
    fn hold(self, second: u64) -> bool {
        let minute = second / 60 % MINUTES_A_DAY;
        if self.from < self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        }
    }
}

/// What rules and curves look at, besides the resources that are priced.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Situation<'a> {
    pub(crate) tenant: Address,
    pub(crate) wants_gpus: bool,
    /// Attributes that the order asks for.
    pub(crate) attributes: &'a [Attribute],
    pub(crate) usage: &'a Usage<'a>,
    /// Unix seconds.
    pub(crate) now: u64,
    /// What the tariff's currency is worth.
    pub(crate) fx: Option<&'a Fx>,
}

impl Rule {
    /// What makes the rule useless, if anything does.
    pub(super) fn problem(&self) -> Option<String> {
        let name = &self.name;
        match (&self.multiply, self.decline) {
            _ if name.trim().is_empty() => {
                Some("a rule has no name: line items and reasons call it by one".to_owned())
            }
            (Some(_), true) => Some(format!("rule {name} both multiplies and declines: write two rules")),
            (None, false) => {
                Some(format!("rule {name} does nothing: give it multiply: \"0.9\" or decline: true"))
            }
            _ => None,
        }
    }

    fn holds(&self, situation: &Situation<'_>) -> bool {
        let When { tenants, gpu, attributes, days, hours, gpus_free_below, used_above, used_below } =
            &self.when;
        let Situation { tenant, wants_gpus, attributes: asked, usage, now, fx: _ } = situation;
        (tenants.is_empty() || tenants.contains(tenant))
            && gpu.is_none_or(|gpu| gpu == *wants_gpus)
            && attributes
                .iter()
                .all(|(key, value)| asked.iter().any(|asked| (&asked.key, &asked.value) == (key, value)))
            && (days.is_empty() || days.contains(&Day::of(*now)))
            && hours.is_none_or(|hours| hours.hold(*now))
            && gpus_free_below.is_none_or(|limit| usage.free_gpus(|_| true) < limit)
            && used_above.all(usage, |used, share| used > share)
            && used_below.all(usage, |used, share| used < share)
    }
}

/// Whether no rule declines.
pub(super) fn admit(rules: &[Rule], situation: &Situation<'_>) -> Result<(), Reason> {
    match rules.iter().find(|rule| rule.decline && rule.holds(situation)) {
        Some(rule) => Err(Reason::Policy { rule: rule.name.clone() }),
        None => Ok(()),
    }
}

/// The factors of the rules that hold, by name.
pub(super) fn factors<'a>(rules: &'a [Rule], situation: &Situation<'_>) -> Vec<(&'a str, Factor)> {
    let holding = rules.iter().filter(|rule| rule.holds(situation));
    holding.filter_map(|rule| Some((rule.name.as_str(), rule.multiply?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::{Capacity, Node};
    use crate::place::Room;
    use crate::tariff::Reserve;

    /// 2026-11-23 00:00 UTC, a Monday.
    const MONDAY: u64 = 1_795_392_000;
    const HOUR: u64 = 3600;

    fn holds(rule: &str, change: impl FnOnce(&mut Situation<'_>)) -> bool {
        let rule: Rule = serde_yaml::from_str(rule).expect(rule);
        let region = Attribute { key: "region".to_owned(), value: "eu-west".to_owned() };
        let (capacity, attributes) = (Capacity::default(), [region]);
        let usage = Room::whole(&capacity, Reserve::default()).usage();
        let mut situation = Situation {
            tenant: Address([1; 20]),
            wants_gpus: false,
            attributes: &attributes,
            usage: &usage,
            now: MONDAY,
            fx: None,
        };
        change(&mut situation);
        rule.holds(&situation)
    }

    #[test]
    fn a_rule_holds_when_all_that_it_names_is_so() {
        assert!(holds("{name: always, multiply: '2'}", |_| {}));
        let ours = "{name: ours, match: {tenants: ['0x0101010101010101010101010101010101010101'], gpu: false}, multiply: '2'}";
        assert!(holds(ours, |_| {}));
        assert!(!holds(ours, |situation| situation.wants_gpus = true));
        assert!(!holds(ours, |situation| situation.tenant = Address([2; 20])));
        assert!(holds("{name: here, match: {attributes: {region: eu-west}}, multiply: '2'}", |_| {}));
        assert!(!holds("{name: there, match: {attributes: {region: us-east}}, multiply: '2'}", |_| {}));
        assert!(holds("{name: scarce, match: {gpusFreeBelow: 1}, decline: true}", |_| {}));
        assert!(!holds("{name: never, match: {gpusFreeBelow: 0}, decline: true}", |_| {}));
    }

    #[test]
    fn a_rule_looks_at_how_much_of_a_resource_is_used() {
        let mut capacity = Capacity::default();
        capacity.total.cpu_milli = 1000;
        capacity.total.gpus.insert("l4-24Gi-pcie".parse().expect("a pool"), 4);
        capacity.total.storage.insert("beta2".to_owned(), 10);
        capacity.storage.insert("beta2".to_owned(), 10);
        let gpus = BTreeMap::from([("l4-24Gi-pcie".parse().expect("a pool"), 1)]);
        let node = Node { schedulable: true, cpu_milli: 500, gpus, ..Node::default() };
        capacity.nodes.insert("a".to_owned(), node);
        let usage = Room::whole(&capacity, Reserve::default()).usage();
        // Half of the processors, three quarters of the GPUs and none of the volumes are used.
        for (levels, is_so) in [
            ("usedAbove: {gpu: '0.7'}", true),
            ("usedAbove: {gpu: '0.75'}", false),
            ("usedBelow: {gpu: '0.75'}", false),
            ("usedBelow: {gpu: '0.76'}", true),
            ("usedAbove: {cpu: '0.4', gpu: '0.7'}", true),
            ("usedAbove: {cpu: '0.5', gpu: '0.7'}", false),
            ("usedAbove: {cpu: '0.4'}, usedBelow: {storage: {beta2: '0.1'}}", true),
            ("usedAbove: {storage: {beta2: '0'}}", false),
        ] {
            let rule = format!("{{name: level, match: {{{levels}}}, multiply: '2'}}");
            let rule: Rule = serde_yaml::from_str(&rule).expect(levels);
            let situation = Situation {
                tenant: Address([1; 20]),
                wants_gpus: false,
                attributes: &[],
                usage: &usage,
                now: MONDAY,
                fx: None,
            };
            assert_eq!(rule.holds(&situation), is_so, "{levels}");
        }
        assert!(
            serde_yaml::from_str::<Rule>("{name: x, match: {usedAbove: {disk: '0.5'}}, decline: true}")
                .is_err()
        );
    }

    #[test]
    fn days_and_hours_are_those_of_utc_and_hours_go_over_midnight() {
        let night = "{name: night, match: {hours: '22:00-06:00'}, multiply: '0.8'}";
        let office = "{name: office, match: {days: [mon, fri], hours: '09:30-17:00'}, multiply: '1.2'}";
        for (hour, is_night, is_office) in [
            (0, true, false),
            (6, false, false),
            (9, false, false),
            (10, false, true),
            (17, false, false),
            (22, true, false),
        ] {
            let now = MONDAY + hour * HOUR;
            assert_eq!(holds(night, |situation| situation.now = now), is_night, "{hour} o'clock");
            assert_eq!(holds(office, |situation| situation.now = now), is_office, "{hour} o'clock");
            assert!(!holds(office, |situation| situation.now = now + 24 * HOUR), "on Tuesday");
        }
        assert!(holds(office, |situation| situation.now = MONDAY + 4 * 24 * HOUR + 10 * HOUR), "on Friday");
    }

    #[test]
    fn a_rule_that_does_nothing_or_two_things_or_has_no_name_is_refused() {
        for (rule, problem) in [
            ("{name: idle}", "does nothing"),
            ("{name: both, multiply: '1', decline: true}", "write two rules"),
            ("{name: ' ', decline: true}", "no name"),
        ] {
            let rule: Rule = serde_yaml::from_str(rule).expect(rule);
            assert!(rule.problem().expect("one").contains(problem));
        }
        for hours in ["22-6", "24:00-01:00", "10:00-10:00", "1:00-2:00", ""] {
            assert!(hours.parse::<Hours>().expect_err(hours).contains("22:00-06:00"));
        }
        let hours: Hours = "22:05-06:00".parse().expect("hours");
        assert_eq!(String::from(hours), "22:05-06:00");
    }
}
