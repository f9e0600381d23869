//! The lines of a price.

use manifests::decision::LineItem;
use manifests::money::Rate;

use super::factor::Factor;

/// What a line is multiplied by, in this order, each with its name.
pub(super) type Factors = Vec<(String, Factor)>;

/// Lines that add up.
#[derive(Default)]
pub(super) struct Bill {
    items: Vec<LineItem>,
    rate: Rate,
}

impl Bill {
    /// Adds a line, its rate times each of the factors, unless it costs nothing; `None` is a rate that is too large.
    pub(super) fn add(
        &mut self,
        what: String,
        quantity: String,
        rate: Option<Rate>,
        factors: &[(String, Factor)],
    ) {
        let multiplied =
            factors.iter().try_fold(rate.unwrap_or(Rate::MAX), |rate, (_, by)| by.times_up(rate));
        let rate = multiplied.unwrap_or(Rate::MAX);
        if rate == Rate::ZERO {
            return;
        }
        self.rate = self.rate.checked_add(rate).unwrap_or(Rate::MAX);
        let factors = factors.iter().map(|(why, by)| format!("{why} × {by}")).collect();
        self.items.push(LineItem { what, quantity, factors, rate });
    }

    /// What the lines add up to.
    pub(super) fn rate(&self) -> Rate {
        self.rate
    }

    /// The rate and its lines, with one more where it would be less than `least`.
    pub(super) fn lifted_to(mut self, least: u128) -> (Rate, Vec<LineItem>) {
        let missing = least.saturating_sub(self.rate.scaled());
        self.add("minimum".to_owned(), "1 group".to_owned(), Rate::new(missing).ok(), &[]);
        (self.rate, self.items)
    }
}
