//! What holds for any prices, worth of a currency, curve and cost; and what a pricing program is asked.

#[path = "support/order.rs"]
mod order;
#[path = "support/unit.rs"]
mod unit;

use bidengine::{Capacity, Circumstances, Fx, Inputs, Node, Policy, PriceUnit, Quoted, Tariff, question};
use manifests::decision::{Decision, Reason};
use manifests::group::Requirements;
use manifests::money::Rate;
use order::order;
use proptest::prelude::*;
use serde_json::{Value, json};
use unit::{Unit, spec};

/// One hall of sixteen H100 and 512 cores, of which so much is free.
fn capacity(free_gpus: u64, free_cores: u64) -> Capacity {
    let pool: manifests::gpu::Gpu = "h100-80Gi-sxm".parse().expect("a pool");
    let node = Node {
        schedulable: true,
        cpu_milli: free_cores * 1000,
        memory_bytes: 1 << 42,
        ephemeral_bytes: 1 << 42,
        gpus: [(pool.clone(), free_gpus)].into(),
        ..Node::default()
    };
    let mut capacity =
        Capacity { nodes: [("hall".to_owned(), node)].into(), leased_ips: 4, ..Capacity::default() };
    capacity.total.cpu_milli = 512_000;
    capacity.total.gpus.insert(pool, 16);
    capacity
}

/// Prices in thousandths of a euro: thread, memory, endpoint, minimum, H100. The curve begins and rises by thousandths too.
fn tariff(prices: [u32; 5], curve: (u32, u32), margin: u32) -> Tariff {
    let decimal = |thousandths: u32| format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
    let (floor, rise) = curve;
    let points = json!([{"used": "0.2", "multiply": decimal(floor)}, {"used": "0.9", "multiply": decimal(floor + rise)}]);
    serde_json::from_value(json!({
        "cpuThread": decimal(prices[0]),
        "memoryGiB": decimal(prices[1]),
        "ephemeralGiB": "0.02",
        "endpoint": decimal(prices[2]),
        "minimumMonthly": decimal(prices[3]),
        "gpu": [{"model": "h100", "monthly": decimal(prices[4])}],
        "fx": {"currency": "EUR", "maxStalenessSecs": 60},
        "curves": {"gpu": points, "cpu": points},
        "costShare": "0.1",
        "minimumMargin": decimal(margin),
    }))
    .expect("is a tariff")
}

fn fx(thousandths: u32) -> Fx {
    let rate = format!("{}.{:03}", thousandths / 1000, thousandths % 1000).parse().expect("above zero");
    Fx { rate, source: "exchange.example".to_owned(), at: 0 }
}

/// Rate and floor of one H100 job; `None` when it does not bring its margin.
fn priced(tariff: &Tariff, fx: &Fx, capacity: &Capacity) -> Option<(Rate, Rate)> {
    let unit = Unit { gpus: 1, models: vec!["h100".to_owned()], hosts: 1, ..Unit::default() };
    let mut order = order(spec(Requirements::default(), &[unit]).to_bytes().expect("is short"));
    order.max_rate = Rate::MAX;
    let policy = Policy::default();
    match bidengine::decide(
        &order,
        &Circumstances { fx: Some(fx), ..Circumstances::new(capacity, tariff, &policy, 0) },
    ) {
        Decision::Bid { rate, floor, items, .. } => {
            let sum: u128 = items.iter().map(|item| item.rate.scaled()).sum();
            assert_eq!(rate.scaled(), sum);
            Some((rate, floor))
        }
        Decision::Decline { reason: Reason::BelowMargin { need, have } } => {
            assert!(have < need);
            None
        }
        Decision::Decline { reason } => panic!("it is declined: {reason}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn a_dearer_tariff_or_currency_or_fuller_hall_never_lowers_a_bid_or_its_floor(
        prices in prop::array::uniform5(0u32..5_000_000),
        dearer in prop::array::uniform5(prop_oneof![Just(0u32), 0u32..5_000_000]),
        worth in 1u32..200_000,
        more_worth in 0u32..200_000,
        curve in (100u32..2_000, 0u32..3_000),
        rise in 0u32..3_000,
        free in 2u64..=16,
        taken in 0u64..=1,
    ) {
        let (all, fewer) = (capacity(free, 512), capacity(free - taken, 256));
        let base = tariff(prices, curve, 0);
        let Some((rate, floor)) = priced(&base, &fx(worth), &all) else {
            return Err(TestCaseError::fail("a tenth of the price is less than a tenth of it"));
        };
        prop_assert!(floor <= rate);
        let mut more = prices;
        for (price, by) in more.iter_mut().zip(dearer) {
            *price += by;
        }
        for (tariff, fx, capacity) in [
            (&tariff(more, curve, 0), &fx(worth), &all),
            (&base, &fx(worth + more_worth), &all),
            (&tariff(prices, (curve.0, curve.1 + rise), 0), &fx(worth), &all),
            (&base, &fx(worth), &fewer),
        ] {
            let (after, least) = priced(tariff, fx, capacity).expect("brings a tenth");
            prop_assert!(after >= rate, "{after} is below {rate}");
            prop_assert!(least >= floor, "{least} is below {floor}");
        }
    }

    #[test]
    fn a_bid_never_asks_less_than_its_cost_and_margin(
        mut prices in prop::array::uniform5(1u32..5_000_000),
        worth in 1u32..200_000,
        curve in (0u32..2_000, 0u32..3_000),
        margin in 0u32..20_000,
    ) {
        prices[3] = 0;
        let (tariff, plain) = (tariff(prices, curve, margin), tariff(prices, (1000, 0), 0));
        let (hall, fx) = (capacity(16, 512), fx(worth));
        // Its cost is a tenth of the price without a curve.
        let Some((base, _)) = priced(&plain, &fx, &hall) else { return Err(TestCaseError::fail("no price")) };
        let Some((rate, floor)) = priced(&tariff, &fx, &hall) else { return Ok(()) };
        prop_assert!(floor <= rate);
        let least = base.scaled() / 10 * u128::from(1000 + margin) / 1000;
        prop_assert!(floor.scaled() >= least, "{floor} for a cost of {least}");
    }
}

#[test]
fn a_pricing_program_is_asked_in_the_known_shape_with_the_model_that_was_chosen() {
    let units: Vec<Unit> = serde_yaml::from_str(
        "[{count: 2, gpus: 1, models: ['*'], cpuMilli: 8000, memoryGiB: 32, ephemeralGiB: 100, ramGiB: 1, hosts: 1, ips: 1}, {}]",
    )
    .expect("units");
    let mut order = order(spec(Requirements::default(), &units).to_bytes().expect("is short"));
    // A hundred millionths of a dollar a block.
    order.max_rate = Rate::new(100 * 1_000_000_000_000 / 6117).expect("small");
    let inputs = Inputs {
        order,
        capacity: capacity(4, 512),
        tariff: serde_yaml::from_str(
            "{cpuThread: '1', memoryGiB: '1', ephemeralGiB: '1', endpoint: '1', gpu: [{model: h100, monthly: '1'}]}",
        )
        .expect("is a tariff"),
        policy: Policy::default(),
        now: 0,
        books: bidengine::Books::default(),
        fx: None,
        quoted: None,
    };
    let asked = |unit| question(&inputs.order, &inputs.circumstances(), unit).expect("fits");
    let json: Value = serde_json::to_value(asked(PriceUnit::UactPerBlock)).expect("is JSON");
    let plain = json!({"units": 0, "attributes": {}});
    let h100 = json!({"vendor": {"nvidia": {"model": "h100", "ram": "80Gi", "interface": "sxm"}}});
    assert_eq!(
        json,
        json!({
            "resources": [
                {
                    "memory": 34_359_738_368u64, "cpu": 8000, "gpu": {"units": 1, "attributes": h100},
                    "storage": [
                        {"class": "ephemeral", "size": 107_374_182_400u64}, {"class": "ram", "size": 1_073_741_824},
                    ],
                    "count": 2, "endpoint_quantity": 1, "ip_lease_quantity": 1,
                },
                {
                    "memory": 1_073_741_824, "cpu": 1000, "gpu": plain,
                    "storage": [{"class": "ephemeral", "size": 1_073_741_824}],
                    "count": 1, "endpoint_quantity": 0, "ip_lease_quantity": 0,
                },
            ],
            "price": {"denom": "uact", "amount": "99.999999"},
            "price_precision": 6,
        })
    );
    assert_eq!(asked(PriceUnit::UsdPerMonth).denom(), "usd");
    // What it answers is what is bid, and the same when it is told again.
    let quoted = PriceUnit::UactPerBlock.read_up("99.999999\n");
    let inputs = Inputs { quoted: Some(quoted), ..inputs };
    let Decision::Bid { rate, .. } = inputs.decide() else { panic!("{:?}", inputs.decide()) };
    assert!(rate <= inputs.order.max_rate);
    let stored = serde_json::to_string(&inputs).expect("is JSON");
    assert_eq!(serde_json::from_str::<Inputs>(&stored).expect("reads back").decide(), inputs.decide());
    let more = Quoted::Priced {
        rate: Rate::new(rate.scaled() + 1_000_000).expect("small"),
        answer: "more".to_owned(),
    };
    let dear = Inputs { quoted: Some(more), ..inputs };
    assert!(matches!(dear.decide(), Decision::Decline { reason: Reason::PriceAboveMax { .. } }));
}
