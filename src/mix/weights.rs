//! Weights into budgets, in whole tokens and exactly.
//!
//! In → decimal weights, a number of tokens, what each source has; out → tokens a source. Shares
//! are fractions over the sum of the weights; whole tokens go by the largest remainder (Hamilton's
//! method), ties to the earlier source. Invariants: budgets sum to the tokens asked for; no float
//! is involved, but for temperatures ([`tempered`]). Cost: nothing, but `most_without_repeats`
//! tries at most about 10⁶ totals ([`SPREAD_MAX`]).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A weight counts in millionths, so 0.7 is 700,000 and nothing is rounded.
const UNIT: u64 = 1_000_000;

/// The largest weight, so that weight × tokens stays far inside 128 bits.
const WEIGHT_MAX: u64 = 1_000_000;

/// Largest and smallest weight may differ by this factor: a source a million times rarer than
/// another is a typing error before it is a mixture.
const SPREAD_MAX: u64 = 1_000_000;

/// A source's share of a mix, relative to the other weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight {
    millionths: u64,
}

impl FromStr for Weight {
    type Err = String;

    fn from_str(text: &str) -> Result<Weight, String> {
        let wrong = || format!("`{text}` is no weight: expected a decimal number as 0.7 or 70");
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || whole.len() + decimals.len() == 0 {
            return Err(wrong());
        }
        let decimals = decimals.trim_end_matches('0');
        if decimals.len() > 6 {
            return Err(format!("`{text}`: a weight has at most six decimals"));
        }
        let whole = format!("0{whole}").parse::<u64>().ok().filter(|&whole| whole <= WEIGHT_MAX);
        let whole = whole.ok_or_else(|| format!("`{text}`: a weight is at most {WEIGHT_MAX}"))?;
        let decimals: u64 = format!("{decimals:0<6}").parse().map_err(|_| wrong())?;
        match whole * UNIT + decimals {
            0 => Err(format!("`{text}`: a weight is above zero; leave the source out instead")),
            millionths => Ok(Weight { millionths }),
        }
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, decimals) = (self.millionths / UNIT, self.millionths % UNIT);
        if decimals == 0 {
            return write!(f, "{whole}");
        }
        write!(f, "{whole}.{}", format!("{decimals:06}").trim_end_matches('0'))
    }
}

impl Serialize for Weight {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Weight {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Whole(u64),
            Decimal(f64),
            Text(String),
        }
        // A decimal number reads back as it was written: its shortest form is that text.
        let text = match Written::deserialize(deserializer)? {
            Written::Whole(number) => number.to_string(),
            Written::Decimal(number) => number.to_string(),
            Written::Text(text) => text,
        };
        text.parse().map_err(D::Error::custom)
    }
}

impl Weight {
    /// Weights under which this share, below 1, is one source's, and the others keep their
    /// proportions: own = share × Σ others, other = (1 − share) × other. They add to 1 where
    /// millionths allow it, else they are in lowest terms.
    pub fn beside(self, others: &[Weight]) -> (Weight, Vec<Weight>) {
        let rest = UNIT.saturating_sub(self.millionths);
        let own = u128::from(self.millionths) * total(others);
        let others = others.iter().map(|other| u128::from(rest) * u128::from(other.millionths));
        let products: Vec<u128> = std::iter::once(own).chain(others).collect();
        let common = products.iter().copied().fold(0, divisor).max(1);
        // Products above the largest weight lose their last digits.
        let largest = products.iter().max().copied().unwrap_or(1) / common;
        let scale = largest.div_ceil(u128::from(WEIGHT_MAX * UNIT)).max(1);
        let parts: Vec<u128> =
            products.iter().map(|product| (product / common / scale).max(1)).collect();
        let (unit, sum) = (u128::from(UNIT), parts.iter().sum::<u128>());
        let largest = parts.iter().max().copied().unwrap_or(1);
        let times = match sum {
            sum if unit.is_multiple_of(sum) => unit / sum,
            _ if largest <= u128::from(WEIGHT_MAX) => unit,
            _ => 1,
        };
        let weight = |part: &u128| Weight { millionths: (part * times) as u64 };
        (weight(&parts[0]), parts[1..].iter().map(weight).collect())
    }

    /// This share of `whole`, rounded down.
    pub fn share_of(self, whole: u64) -> u64 {
        let share = u128::from(whole) * u128::from(self.millionths) / u128::from(UNIT);
        u64::try_from(share).unwrap_or(u64::MAX)
    }
}

/// The sum of the weights, where it is neither 1 nor 100.
pub fn odd_sum(weights: &[Weight]) -> Option<Weight> {
    let millionths = weights.iter().map(|weight| weight.millionths).sum();
    (![UNIT, 100 * UNIT].contains(&millionths)).then_some(Weight { millionths })
}

/// Weights by what each source has: weight × available^(1/temperature), the largest of them 1,
/// rounded to the millionth. 1 is in proportion, and the higher, the more even (Devlin,
/// multilingual BERT, 2018; Arivazhagan et al., 2019, with 5). `libm` has the same bits everywhere.
pub fn tempered(weights: &[Weight], available: &[u64], temperature: f64) -> Vec<Weight> {
    let most = available.iter().copied().max().unwrap_or(1).max(1) as f64;
    let scaled = weights.iter().zip(available).map(|(weight, &available)| {
        weight.millionths as f64 * libm::pow(available as f64 / most, 1.0 / temperature)
    });
    let scaled: Vec<f64> = scaled.collect();
    let largest = scaled.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let share = |scaled: f64| (scaled / largest * UNIT as f64 + 0.5) as u64;
    scaled.into_iter().map(|scaled| Weight { millionths: share(scaled).max(1) }).collect()
}

/// Refuses weights so far apart that one is probably mistyped.
pub fn check_spread(weights: &[Weight]) -> Result<(), String> {
    let (smallest, largest) = (weights.iter().min(), weights.iter().max());
    match (smallest, largest) {
        (Some(smallest), Some(largest))
            if largest.millionths / smallest.millionths > SPREAD_MAX =>
        {
            Err(format!("weights {smallest} and {largest} differ by more than a million"))
        }
        _ => Ok(()),
    }
}

/// `tokens` split by the weights: the floor of each share, then one more for the largest
/// remainders, ties to the earlier source.
pub fn split(tokens: u64, weights: &[Weight]) -> Vec<u64> {
    let sum = total(weights);
    let products = weights.iter().map(|weight| u128::from(tokens) * u128::from(weight.millionths));
    let shares: Vec<(u128, u128)> = products.map(|share| (share / sum, share % sum)).collect();
    let mut budgets: Vec<u64> = shares.iter().map(|share| share.0 as u64).collect();
    let left = tokens - budgets.iter().sum::<u64>();
    let mut by_remainder: Vec<usize> = (0..weights.len()).collect();
    by_remainder.sort_by_key(|&source| (std::cmp::Reverse(shares[source].1), source));
    for &source in &by_remainder[..left as usize] {
        budgets[source] += 1;
    }
    budgets
}

/// `tokens` split by the weights, no share below its floor or above its ceiling: what the bounds
/// add or take away is split among the others by their weights. Shares that violate a bound are
/// fixed at it, the floors where they ask for more than the ceilings give back, else the ceilings,
/// until none does (the order of CSS flexible lengths: each round fixes one share at least).
/// `None` where floors ask for more, or ceilings allow less, than there is.
pub fn split_within(tokens: u64, weights: &[Weight], bounds: &[(u64, u64)]) -> Option<Vec<u64>> {
    let mut fixed: Vec<Option<u64>> = vec![None; weights.len()];
    loop {
        let taken = fixed.iter().flatten().try_fold(0u64, |sum, &share| sum.checked_add(share))?;
        let left = tokens.checked_sub(taken)?;
        let free: Vec<usize> = (0..weights.len()).filter(|&one| fixed[one].is_none()).collect();
        if free.is_empty() {
            return (left == 0).then(|| fixed.into_iter().flatten().collect());
        }
        let shares = split(left, &free.iter().map(|&one| weights[one]).collect::<Vec<_>>());
        let (mut below, mut above) = (0u128, 0u128);
        for (&one, &share) in free.iter().zip(&shares) {
            let (floor, ceiling) = bounds[one];
            below += u128::from(floor.saturating_sub(share));
            above += u128::from(share.saturating_sub(ceiling));
        }
        for (&one, &share) in free.iter().zip(&shares) {
            let (floor, ceiling) = bounds[one];
            if below >= above && share < floor {
                fixed[one] = Some(floor);
            } else if above >= below && share > ceiling {
                fixed[one] = Some(ceiling);
            } else if (below, above) == (0, 0) {
                fixed[one] = Some(share);
            }
        }
    }
}

/// The most tokens whose [`split`] gives no source more than it has available.
pub fn most_without_repeats(available: &[u64], weights: &[Weight]) -> u64 {
    let sum = total(weights);
    // Tokens up to which a source's exact share stays at or below `has`.
    let reach = |has: u128, weight: &Weight| has * sum / u128::from(weight.millionths);
    let pairs = || available.iter().map(|&has| u128::from(has)).zip(weights);
    // At `fits` no exact share is above what its source has, so neither is a rounded one; beyond
    // `bound` the floor of some share is. Between them only the remainders decide.
    let fits = pairs().map(|(has, weight)| reach(has, weight)).min().unwrap_or(0);
    let bound = pairs()
        .map(|(has, weight)| ((has + 1) * sum - 1) / u128::from(weight.millionths))
        .min()
        .unwrap_or(0);
    let repeats_nothing = |tokens: &u64| {
        split(*tokens, weights).iter().zip(available).all(|(budget, has)| budget <= has)
    };
    let limit = |tokens: u128| u64::try_from(tokens).unwrap_or(u64::MAX);
    let most = (limit(fits)..=limit(bound)).rev().find(repeats_nothing);
    most.expect("the lower end always fits")
}

/// `numerator / denominator` with four decimals, rounded down; integers only, so the text is the
/// same everywhere.
pub fn decimal(numerator: u64, denominator: u64) -> String {
    let scaled = u128::from(numerator) * 10_000 / u128::from(denominator.max(1));
    format!("{}.{:04}", scaled / 10_000, scaled % 10_000)
}

/// `numerator / denominator` in lowest terms.
pub fn fraction(numerator: u64, denominator: u64) -> String {
    let divisor = divisor(numerator.into(), denominator.into()).max(1) as u64;
    format!("{}/{}", numerator / divisor, denominator / divisor)
}

/// The greatest common divisor, by Euclid.
fn divisor(mut a: u128, mut b: u128) -> u128 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn total(weights: &[Weight]) -> u128 {
    weights.iter().map(|weight| u128::from(weight.millionths)).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn weights(texts: &[&str]) -> Vec<Weight> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_weight_reads_as_it_is_written() {
        for (text, shown) in
            [("0.7", "0.7"), ("70", "70"), (".5", "0.5"), ("1.", "1"), ("0.123456", "0.123456")]
        {
            assert_eq!(text.parse::<Weight>().unwrap().to_string(), shown);
        }
        for wrong in ["", ".", "0", "0.0", "-1", "1e3", "nan", "0.1234567", "1000001", "1,5"] {
            assert!(wrong.parse::<Weight>().is_err(), "{wrong}");
        }
        assert!(check_spread(&weights(&["0.000001", "2"])).is_err());
        assert!(check_spread(&weights(&["0.000001", "1"])).is_ok());
    }

    #[test]
    fn equal_remainders_go_to_the_earlier_source() {
        assert_eq!(split(10, &weights(&["1", "1", "1"])), [4, 3, 3]);
        assert_eq!(split(11, &weights(&["1", "1", "1"])), [4, 4, 3]);
        assert_eq!(split(10, &weights(&["0.7", "0.3"])), [7, 3]);
        assert_eq!(split(11, &weights(&["0.7", "0.3"])), [8, 3]);
        assert_eq!(split(1, &weights(&["0.1", "0.2", "0.3"])), [0, 0, 1]);
    }

    #[test]
    fn all_is_the_most_that_repeats_nothing() {
        assert_eq!(most_without_repeats(&[1000], &weights(&["0.3"])), 1000);
        assert_eq!(most_without_repeats(&[7, 3], &weights(&["0.7", "0.3"])), 10);
        // 7.7 and 3.3 round to 8 and 3.
        assert_eq!(most_without_repeats(&[8, 3], &weights(&["0.7", "0.3"])), 11);
    }

    #[test]
    fn fractions_show_exactly() {
        assert_eq!(fraction(6, 4), "3/2");
        assert_eq!(decimal(5, 3), "1.6666");
        assert_eq!(decimal(0, 7), "0.0000");
    }

    #[test]
    fn a_weight_in_toml_is_a_number_or_a_text() {
        #[derive(Deserialize)]
        struct Read {
            weights: Vec<Weight>,
        }
        let read: Read = toml::from_str("weights = [0.7, 70, '0.25', 0.000001]").unwrap();
        assert_eq!(read.weights, weights(&["0.7", "70", "0.25", "0.000001"]));
        assert!(toml::from_str::<Read>("weights = [-0.5]").is_err());
    }

    #[test]
    fn sums_other_than_one_and_a_hundred_are_odd() {
        assert_eq!(odd_sum(&weights(&["0.7", "0.3"])), None);
        assert_eq!(odd_sum(&weights(&["70", "30"])), None);
        assert_eq!(odd_sum(&weights(&["0.7", "0.2"])).unwrap().to_string(), "0.9");
    }

    #[test]
    fn a_temperature_evens_out() {
        let ones = weights(&["1", "1"]);
        let shown = |temperature: f64| {
            tempered(&ones, &[10_000, 100], temperature).iter().map(Weight::to_string).collect()
        };
        let shown: [Vec<String>; 2] = [shown(1.0), shown(2.0)];
        assert_eq!(shown, [["1", "0.01"], ["1", "0.1"]]);
        let doubled = tempered(&weights(&["1", "2"]), &[10_000, 100], 2.0);
        assert_eq!(doubled, weights(&["1", "0.2"]));
    }

    #[test]
    fn bounds_give_to_the_others_by_their_weights() {
        let three = weights(&["0.6", "0.3", "0.1"]);
        let free = (0, u64::MAX);
        let within = |bounds: [(u64, u64); 3]| split_within(1000, &three, &bounds);
        assert_eq!(within([free; 3]).unwrap(), [600, 300, 100]);
        assert_eq!(within([(0, 200), free, free]).unwrap(), [200, 600, 200]);
        assert_eq!(within([free, free, (400, u64::MAX)]).unwrap(), [400, 200, 400]);
        assert_eq!(within([(0, 200), (0, 200), (0, 200)]), None);
        assert_eq!(within([(700, 900), (400, 900), free]), None);
    }

    proptest! {
        #[test]
        fn bounded_shares_keep_their_bounds_and_their_sum(
            tokens in 1u64..10_000,
            parts in prop::collection::vec((1u64..1_000_000, 0u64..3000, 0u64..6000), 1..6),
        ) {
            let weights: Vec<Weight> =
                parts.iter().map(|&(millionths, ..)| Weight { millionths }).collect();
            let bounds: Vec<(u64, u64)> =
                parts.iter().map(|&(_, floor, width)| (floor, floor + width)).collect();
            let floors: u64 = bounds.iter().map(|bounds| bounds.0).sum();
            let ceilings: u64 = bounds.iter().map(|bounds| bounds.1).sum();
            let found = split_within(tokens, &weights, &bounds);
            prop_assert_eq!(found.is_some(), floors <= tokens && tokens <= ceilings);
            for (share, (floor, ceiling)) in found.iter().flatten().zip(&bounds) {
                prop_assert!(floor <= share && share <= ceiling);
            }
            if let Some(found) = found {
                prop_assert_eq!(found.iter().sum::<u64>(), tokens);
            }
        }

        #[test]
        fn budgets_sum_to_the_tokens_and_stay_within_one_of_their_share(
            tokens in 0u64..1 << 50,
            millionths in prop::collection::vec(1u64..1_000_000_000, 1..8),
        ) {
            let weights: Vec<Weight> =
                millionths.iter().map(|&millionths| Weight { millionths }).collect();
            let budgets = split(tokens, &weights);
            prop_assert_eq!(budgets.iter().sum::<u64>(), tokens);
            let sum: u128 = millionths.iter().map(|&weight| u128::from(weight)).sum();
            for (&budget, &weight) in budgets.iter().zip(&millionths) {
                let share = u128::from(tokens) * u128::from(weight);
                let budget = u128::from(budget) * sum;
                prop_assert!(budget.abs_diff(share) < sum);
            }
        }

        #[test]
        fn all_equals_a_search_over_every_total(
            available in prop::collection::vec(1u64..60, 3),
            millionths in prop::collection::vec(1u64..20, 3),
        ) {
            let weights: Vec<Weight> =
                millionths.iter().map(|&millionths| Weight { millionths }).collect();
            let fits = |tokens: u64| {
                split(tokens, &weights).iter().zip(&available).all(|(budget, has)| budget <= has)
            };
            let most = (0..200).rev().find(|&tokens| fits(tokens)).unwrap();
            prop_assert_eq!(most_without_repeats(&available, &weights), most);
        }
    }
}
