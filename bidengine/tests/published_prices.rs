//! Our tariff against the prices that the peer's pricing script has by default.
//!
//! The script turns dollars a month into an amount a block with 429,909 blocks a month of 6.117 s each: a month of 730.49
//! hours. Ours has 730 hours. For the same dollars a month we therefore ask 0.067 % more a second, and what a tenant pays in a
//! month of 730 hours is exactly what the table says. Where the script gives things away or guesses, we do neither.

#[path = "support/order.rs"]
mod order;
#[path = "support/unit.rs"]
mod unit;

use bidengine::{Capacity, Circumstances, Node, Policy, Tariff, decide};
use manifests::decision::{Decision, Reason};
use manifests::group::Requirements;
use manifests::money::{Rate, SECONDS_PER_MONTH};
use order::order;
use unit::{Unit, spec};

/// The script's defaults, in dollars a month. Its catch-all GPU price is left out.
const TABLE: &str = r#"
    cpuThread: "1.60"
    memoryGiB: "0.80"
    ephemeralGiB: "0.02"
    storageGiB: {beta1: "0.01", beta2: "0.03", beta3: "0.04"}
    endpoint: "0.05"
    ip: "5"
"#;

/// What the script divides by: blocks a month, and how long a block lasts.
const BLOCKS_A_MONTH: u128 = 429_909;
const BLOCK_MILLIS: u128 = 6117;

fn tariff(more: &str) -> Tariff {
    serde_yaml::from_str(&format!("{TABLE}{more}")).expect("is a tariff")
}

fn capacity() -> Capacity {
    let gpus =
        [("a100-80Gi-sxm", 8), ("t4-16Gi-pcie", 8)].map(|(pool, free)| (pool.parse().expect(pool), free));
    let node = Node {
        schedulable: true,
        cpu_milli: 256_000,
        memory_bytes: 1 << 41,
        ephemeral_bytes: 1 << 44,
        gpus: gpus.into(),
        ..Node::default()
    };
    let storage = ["beta1", "beta2", "beta3", "default"].map(|class| (class.to_owned(), 1 << 44));
    Capacity {
        nodes: [("hall".to_owned(), node)].into(),
        storage: storage.into(),
        leased_ips: 8,
        ..Capacity::default()
    }
}

fn decision(tariff: &Tariff, units: &str) -> Decision {
    let units: Vec<Unit> = serde_yaml::from_str(units).expect("units");
    let order = order(spec(Requirements::default(), &units).to_bytes().expect("is short"));
    let (capacity, policy) = (capacity(), Policy::default());
    decide(&order, &Circumstances::new(&capacity, tariff, &policy, 0))
}

fn rate(tariff: &Tariff, units: &str) -> Rate {
    match decision(tariff, units) {
        Decision::Bid { rate, .. } => rate,
        Decision::Decline { reason } => panic!("{units} is declined: {reason}"),
    }
}

fn reason(tariff: &Tariff, units: &str) -> Reason {
    match decision(tariff, units) {
        Decision::Decline { reason } => reason,
        Decision::Bid { rate, .. } => panic!("{units} is bid on for {rate}"),
    }
}

/// Hundredths of a dollar in a month of 730 hours. A rate is rounded up to its smallest step, so that a month of it is above
/// the table by less than a millionth of a dollar.
fn cents_a_month(rate: Rate) -> u128 {
    let exact = rate.scaled() * SECONDS_PER_MONTH;
    let cent = 10_000 * manifests::money::RATE_SCALE;
    assert!(exact % cent < cent / 10_000, "{rate} is {exact} / {cent} cents a month");
    exact / cent
}

#[test]
fn each_published_price_is_exactly_that_many_dollars_in_a_month_of_730_hours() {
    let tariff = tariff("");
    let least = "cpuMilli: 1000, memoryGiB: 1, ephemeralGiB: 1";
    let with = |more: &str| cents_a_month(rate(&tariff, &format!("[{{{least}, {more}}}]")));
    let without = cents_a_month(rate(&tariff, &format!("[{{{least}}}]")));
    assert_eq!(without, 242);
    for (more, cents) in [
        ("cpuMilli: 2000", 160),
        ("memoryGiB: 2", 80),
        ("ephemeralGiB: 2", 2),
        ("persistent: beta1", 1),
        ("persistent: beta2", 3),
        ("persistent: beta3", 4),
        ("hosts: 1", 5),
        ("ports: 1", 5),
        ("ips: 1", 500),
    ] {
        let (key, _) = more.split_once(':').expect("a key");
        let units: Vec<&str> = least.split(", ").filter(|part| !part.starts_with(key)).collect();
        let units = format!("[{{{}, {more}}}]", units.join(", "));
        assert_eq!(cents_a_month(rate(&tariff, &units)) - without, cents, "{more}");
    }
    assert_eq!(with("count: 3"), 3 * 242);
}

#[test]
fn the_two_worked_examples_cost_what_is_published() {
    // One thread, 1 GiB, 1 GiB and a port are 2.47 dollars a month.
    let small = rate(&tariff(""), "[{cpuMilli: 1000, memoryGiB: 1, ephemeralGiB: 1, hosts: 1}]");
    assert_eq!(cents_a_month(small), 247);
    // Eight threads, 32 GiB, 100 GiB and a GPU at the script's catch-all of a hundred are 140.40.
    let gpu = tariff("    gpu: [{model: t4, monthly: \"100\"}]");
    let large = "[{cpuMilli: 8000, memoryGiB: 32, ephemeralGiB: 100, gpus: 1, models: [t4]}]";
    let large = rate(&gpu, large);
    assert_eq!(cents_a_month(large), 14_040);
    // The script's words for the same, in millionths of a dollar a block, and ours for the time of one of its blocks, both in
    // thousandths: 5.745 and 5.749; 326.581 and 326.798.
    for (ours, cents, theirs, in_blocks) in [(small, 247, 5_745, 5_749), (large, 14_040, 326_581, 326_798)] {
        assert_eq!((cents * 10_000_000 + BLOCKS_A_MONTH / 2) / BLOCKS_A_MONTH, theirs);
        let thousandths = ours.scaled() * BLOCK_MILLIS / manifests::money::RATE_SCALE;
        assert_eq!(thousandths, in_blocks);
    }
    // The two months: 2,629,753 seconds and 2,628,000, a ratio of 1.000667.
    let millionths = BLOCKS_A_MONTH * BLOCK_MILLIS * 1_000_000 / (SECONDS_PER_MONTH * 1000);
    assert_eq!(millionths, 1_000_667);
}

#[test]
fn what_the_script_gives_away_or_guesses_has_a_price_here_or_is_not_sold() {
    // The classes `default` and `ram` are free there: here they need a price.
    let tariff_alone = tariff("");
    for (units, class) in [("[{persistent: default}]", "default"), ("[{ramGiB: 1}]", "ram")] {
        assert_eq!(reason(&tariff_alone, units), Reason::PriceClassMissing { class: class.to_owned() });
    }
    let priced: Tariff =
        serde_yaml::from_str(&TABLE.replace("{beta1", "{default: \"0.02\", ram: \"0.80\", beta1"))
            .expect("is a tariff");
    assert_eq!(cents_a_month(rate(&priced, "[{persistent: default, ramGiB: 1}]")), 242 + 2 + 80);

    // A model that no price names costs the dearest entry or a hundred dollars there: here it is not sold.
    let a100 = tariff("    gpu: [{model: a100, monthly: \"120\"}]");
    let missing = Reason::PriceGpuMissing { pool: "t4-16Gi-pcie".to_owned() };
    assert_eq!(reason(&a100, "[{gpus: 1, models: [t4]}]"), missing);

    // GPUs were not multiplied by their service's count there: here they are, and so are endpoints.
    let one = rate(&a100, "[{gpus: 2, models: [a100], hosts: 1}]");
    let three = rate(&a100, "[{gpus: 2, models: [a100], hosts: 1, count: 3}]");
    assert_eq!(cents_a_month(one), 242 + 24_000 + 5);
    assert_eq!(cents_a_month(three), 3 * (242 + 24_000 + 5));

    // A price for `model.interface` was never found there when the memory was asked for too.
    let by_interface = tariff(
        "    gpu: [{model: a100, monthly: \"120\"}, {model: a100, interface: sxm, monthly: \"1000.25\"}]",
    );
    let units = "[{gpus: 1, models: [a100/ram/80Gi/interface/sxm]}]";
    assert_eq!(cents_a_month(rate(&by_interface, units)), 242 + 100_025);

    // An open choice is priced by the model that is given, the cheaper one.
    let both = tariff("    gpu: [{model: a100, monthly: \"120\"}, {model: t4, monthly: \"80\"}]");
    assert_eq!(cents_a_month(rate(&both, "[{gpus: 1, models: ['*']}]")), 242 + 8_000);
}
