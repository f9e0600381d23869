//! How long a decision takes on a thousand machines of eight GPUs, 60 % full, beside first fit by a plain scan; and of one
//! stream of orders, how many each of the two finds no place for.

mod first_fit;
#[path = "../../tests/support/hall.rs"]
mod hall;
#[path = "../../tests/support/order.rs"]
mod order;
#[path = "../../tests/support/unit.rs"]
mod unit;

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use bidengine::{Capacity, Circumstances, Policy, Tariff, decide, place};
use criterion::{Criterion, SamplingMode};
use first_fit::{first_fit, wanted};
use hall::{Chance, Ledger, gpus, hall, tariff, wish};
use manifests::decision::Decision;
use manifests::group::Requirements;
use unit::{Unit, spec};

const MACHINES: u64 = 1000;

/// What is measured: an order, and within how many microseconds it is to be decided.
struct Measured {
    name: &'static str,
    units: Vec<Unit>,
    /// Prices follow what is used.
    by_use: bool,
    target: Option<f64>,
}

fn measured() -> [Measured; 5] {
    let gpus = |count, gpus, model: &str| {
        let (cpu_milli, memory_gib) = (8000 * gpus, 64 * gpus);
        vec![Unit {
            count,
            gpus,
            cpu_milli,
            memory_gib,
            models: vec![model.to_owned()],
            hosts: 1,
            ..Unit::default()
        }]
    };
    let by_use = false;
    [
        Measured { name: "1 GPU", units: gpus(1, 1, "h100"), by_use, target: Some(60.0) },
        Measured {
            name: "1 GPU, priced by use",
            units: gpus(1, 1, "h100"),
            by_use: true,
            target: Some(60.0),
        },
        Measured { name: "1 GPU of any model", units: gpus(1, 1, "*"), by_use, target: None },
        Measured { name: "16 replicas of 8 GPUs", units: gpus(16, 8, "h100"), by_use, target: Some(500.0) },
        Measured {
            name: "3 replicas without",
            units: vec![Unit { count: 3, hosts: 1, ..Unit::default() }],
            by_use,
            target: None,
        },
    ]
}

/// The same prices, with a curve for GPUs and one for processors.
fn by_use_tariff() -> Tariff {
    let mut table = serde_json::to_value(tariff()).expect("is JSON");
    let curve = serde_json::json!([{"used": "0.5", "multiply": "1"}, {"used": "1", "multiply": "1.5"}]);
    table["curves"] = serde_json::json!({"gpu": curve, "cpu": curve});
    serde_json::from_value(table).expect("is a tariff")
}

/// A hall in which orders came and went until so many of a hundred GPUs are taken.
fn filled(percent: u64) -> Capacity {
    let mut ledger = Ledger::new(hall(MACHINES));
    let (all, tariff, mut chance) = (gpus(&ledger.empty), tariff(), Chance(2));
    for order in 0.. {
        if (all - gpus(&ledger.free)) * 100 >= all * percent && order > 4000 {
            break;
        }
        if (all - gpus(&ledger.free)) * 100 > all * percent {
            ledger.release(chance.below(order));
        }
        if let Ok(placement) =
            place(&spec(Requirements::default(), &wish(&mut chance)), &ledger.free, &tariff)
        {
            ledger.hold(order, placement);
        }
    }
    ledger.free
}

fn speed(criterion: &mut Criterion, results: &Path) {
    let (capacity, policy) = (filled(60), Policy::default());
    let mut rows = Vec::new();
    for Measured { name, units, by_use, target } in measured() {
        let tariff = if by_use { by_use_tariff() } else { tariff() };
        let spec = spec(Requirements::default(), &units);
        let order = order::order(spec.to_bytes().expect("is short"));
        let now = Circumstances::new(&capacity, &tariff, &policy, 0);
        assert!(matches!(decide(&order, &now), Decision::Bid { .. }), "{name} fits");
        let wanted = wanted(&units);
        assert!(first_fit(&wanted, &capacity, &tariff).is_some(), "{name} fits first, too");
        let mut group = criterion.benchmark_group(name);
        // Many short samples: who shares the machine disturbs some of them, and not the median.
        group.sampling_mode(SamplingMode::Flat);
        group.bench_function("decide", |bencher| bencher.iter(|| decide(black_box(&order), black_box(&now))));
        group.bench_function("place", |bencher| {
            bencher.iter(|| place(black_box(&spec), black_box(&capacity), &tariff));
        });
        group.bench_function("first fit", |bencher| {
            bencher.iter(|| first_fit(black_box(&wanted), black_box(&capacity), &tariff));
        });
        group.finish();
        let of = |what: &str| median(results, name, what);
        // A filter on the command line leaves some out.
        let (Some(decide), Some(place), Some(first)) = (of("decide"), of("place"), of("first fit")) else {
            continue;
        };
        rows.push([
            name.to_owned(),
            format!("{decide:.1} µs"),
            target.map_or_else(String::new, |target| format!("≤ {target:.0} µs")),
            format!("{place:.1} µs"),
            format!("{first:.1} µs"),
            format!("{:.2}", place / first),
        ]);
    }
    table(["order", "decide", "target", "place alone", "first fit", "place / first fit"], &rows);
}

/// The median that was measured in this run, in microseconds.
fn median(results: &Path, group: &str, what: &str) -> Option<f64> {
    let text = fs::read_to_string(results.join(group).join(what).join("new/estimates.json")).ok()?;
    let estimates: serde_json::Value = serde_json::from_str(&text).expect("is JSON");
    Some(estimates["median"]["point_estimate"].as_f64().expect("is a number") / 1000.0)
}

/// Of a stream of orders, how many each finds a place for, how full the hall is, and how broken up.
struct Outcome {
    placed: Vec<bool>,
    /// GPUs that were taken, in thousandths, over all the time.
    taken: u64,
}

/// The same arrivals and departures, whoever places them. An order stays for a while that chance decided, if it is placed.
fn stream(
    orders: u64,
    place: impl Fn(&[Unit], &Capacity, &Tariff) -> Option<manifests::decision::Placement>,
) -> Outcome {
    let mut ledger = Ledger::new(hall(MACHINES));
    let (all, tariff, mut chance) = (gpus(&ledger.empty), tariff(), Chance(3));
    let mut leaves: std::collections::BTreeMap<u64, Vec<u64>> = std::collections::BTreeMap::new();
    let mut outcome = Outcome { placed: Vec::new(), taken: 0 };
    for now in 0..orders {
        for order in leaves.remove(&now).into_iter().flatten() {
            ledger.release(order);
        }
        let (mut units, stays) = (wish(&mut chance), 1 + chance.below(STAYS));
        // Which pool an order for any model gets would decide more than on which of its nodes.
        for model in units.iter_mut().flat_map(|unit| &mut unit.models).filter(|model| *model == "*") {
            chance.pick(&[(40, "h100"), (25, "a100"), (20, "l40s"), (15, "rtx4090")]).clone_into(model);
        }
        let placement = place(&units, &ledger.free, &tariff);
        outcome.placed.push(placement.is_some());
        if let Some(placement) = placement {
            ledger.hold(now, placement);
            leaves.entry(now + stays).or_default().push(now);
        }
        outcome.taken += (all - gpus(&ledger.free)) * 1000 / all;
    }
    outcome.taken /= orders;
    outcome
}

/// The longest stay, in arrivals: what comes meanwhile is a little more than there is.
const STAYS: u64 = 4300;
const ORDERS: u64 = 20_000;

fn share() {
    let ours = stream(ORDERS, |units, capacity, tariff| {
        place(&spec(Requirements::default(), units), capacity, tariff).ok()
    });
    let first = stream(ORDERS, |units, capacity, tariff| first_fit(&wanted(units), capacity, tariff));
    let both = ours.placed.iter().zip(&first.placed);
    let only_we = both.clone().filter(|(ours, first)| **ours && !**first).count();
    let only_first = both.filter(|(ours, first)| !**ours && **first).count();
    let row = |name: &str, outcome: &Outcome, only: usize| {
        let refused = outcome.placed.iter().filter(|placed| !**placed).count();
        [
            name.to_owned(),
            format!("{:.2} %", percent(refused)),
            format!("{:.2} %", percent(only)),
            format!("{}.{} %", outcome.taken / 10, outcome.taken % 10),
        ]
    };
    table(
        ["placed by", "orders refused", "placed here alone", "GPUs taken, on average"],
        &[row("bidengine", &ours, only_we), row("first fit", &first, only_first)],
    );
}

#[expect(clippy::cast_precision_loss, reason = "a share for people to read")]
fn percent(orders: usize) -> f64 {
    orders as f64 * 100.0 / ORDERS as f64
}

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    println!();
    for row in std::iter::once(&head.map(str::to_owned)).chain(rows) {
        let cells: Vec<String> =
            row.iter().enumerate().map(|(column, cell)| format!("{cell:<0$}", width(column))).collect();
        println!("{}", cells.join("  ").trim_end());
    }
}

fn main() {
    let results = Path::new(env!("CARGO_TARGET_TMPDIR")).join("decide");
    // What another run measured is no part of this one's table.
    drop(fs::remove_dir_all(&results));
    let mut criterion = Criterion::default()
        .output_directory(&results)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1))
        .sample_size(1000)
        .nresamples(2000)
        .configure_from_args();
    speed(&mut criterion, &results);
    share();
}
