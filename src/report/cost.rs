//! What training costs, and what more of it would buy.
//!
//! In → clocks, tokens, a price an hour, a fitted curve; out → [`Cost`]. **Method.** Money is time
//! times price. The gain from more money compares whole runs: the forecast for a run whose schedule
//! is so much longer, less the forecast for this one, both at the end of their schedules, since a
//! loss at the peak of the learning rate says nothing about what a run is worth. Pure.

use serde::Serialize;

use super::forecast::{Curve, Estimate, area};
use crate::shards::StepRows;

/// What is known of a run beside its records.
pub struct Outlook {
    /// The number of optimizer steps that the run is to take.
    pub steps: u64,
    /// (step, steps) → the learning rate as a share of its peak.
    pub rate: Box<dyn Fn(u64, u64) -> f64>,
    /// Which rows each step takes, and how many tokens a row has.
    pub rows: StepRows,
    pub sequence: u64,
    /// Trainable numbers.
    pub parameters: u64,
}

impl Outlook {
    /// Tokens of all steps before `step`, counted from 0.
    pub fn tokens_before(&self, step: u64) -> u64 {
        self.rows.before(step).saturating_mul(self.sequence)
    }
}

/// The forecast of the loss.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// At the end of the run as it is configured.
    pub end: Estimate,
    /// The number of steps of the run as it is configured.
    pub steps: u64,
    /// At the end of a run over twenty tokens a parameter (Hoffmann and others 2022,
    /// arXiv:2203.15556).
    pub at_twenty: Estimate,
    /// The number of tokens of that run.
    pub twenty_tokens: u64,
}

/// Money and time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// The price of an hour of the machine.
    pub per_hour: f64,
    /// Hours so far, over all sessions.
    pub hours: f64,
    /// The cost so far.
    pub so_far: f64,
    /// The cost of a billion tokens at this speed; `None` before the first step.
    pub per_billion_tokens: Option<f64>,
    /// The cost from here to the configured end.
    pub to_finish: Option<f64>,
    /// What a reduction of the loss by 0.01 nats costs, through a longer run.
    pub per_hundredth: Option<f64>,
    /// (money, nats): how much so much more money reduces the loss.
    pub buys: Vec<(f64, f64)>,
}

/// Evaluates the curve at the end of this run and of the run over twenty tokens a parameter.
pub fn forecast(curve: &Curve, outlook: &Outlook) -> Forecast {
    let twenty_tokens = outlook.parameters.saturating_mul(20);
    let twenty_steps = outlook.rows.within(twenty_tokens / outlook.sequence.max(1)).max(1);
    Forecast {
        end: at_the_end(curve, outlook, outlook.steps),
        steps: outlook.steps,
        at_twenty: at_the_end(curve, outlook, twenty_steps),
        twenty_tokens,
    }
}

/// The loss at the end of a schedule over `steps`.
fn at_the_end(curve: &Curve, outlook: &Outlook, steps: u64) -> Estimate {
    let last = (outlook.rate)(steps.saturating_sub(1), steps);
    curve.at(area(&outlook.rate, steps), last)
}

/// The bill: the machine ran for `seconds`, of which `step_seconds` were training on `tokens`.
pub fn cost(
    per_hour: f64,
    seconds: f64,
    (step_seconds, tokens): (f64, u64),
    forecast: Option<(&Curve, &Outlook)>,
) -> Cost {
    let hours = seconds / 3600.0;
    // Evaluation and checkpoints belong to the cost of a token.
    let whole = seconds.max(step_seconds);
    let per_token = (tokens > 0).then(|| whole / 3600.0 * per_hour / tokens as f64);
    let mut cost = Cost {
        per_hour,
        hours,
        so_far: hours * per_hour,
        per_billion_tokens: per_token.map(|price| price * 1e9),
        to_finish: None,
        per_hundredth: None,
        buys: Vec::new(),
    };
    let (Some(per_token), Some((curve, outlook))) = (per_token, forecast) else { return cost };
    let all = outlook.tokens_before(outlook.steps);
    cost.to_finish = Some(all.saturating_sub(tokens) as f64 * per_token);
    // The price of one more step, which has the full batch by then.
    let step_price = per_token * (outlook.tokens_before(outlook.steps + 1) - all) as f64;
    if step_price <= 0.0 {
        return cost;
    }
    let end = at_the_end(curve, outlook, outlook.steps).loss;
    let gain = |money: f64| {
        let steps = outlook.steps + (money / step_price) as u64;
        end - at_the_end(curve, outlook, steps).loss
    };
    cost.buys = [10.0, 100.0].map(|money| (money, gain(money))).to_vec();
    cost.per_hundredth = dearest(&gain, step_price);
    cost
}

/// The least money for 0.01 nats, by bisection; `None` where a thousandfold run gives less.
fn dearest(gain: &dyn Fn(f64) -> f64, step_price: f64) -> Option<f64> {
    const WANTED: f64 = 0.01;
    let mut high = step_price;
    for _ in 0..60 {
        if gain(high) >= WANTED {
            break;
        }
        high *= 2.0;
    }
    if gain(high) < WANTED {
        return None;
    }
    let mut low = 0.0;
    for _ in 0..40 {
        let middle = (low + high) / 2.0;
        if gain(middle) >= WANTED { high = middle } else { low = middle }
    }
    Some(high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::forecast::Step;

    fn constant(_: u64, _: u64) -> f64 {
        1.0
    }

    #[test]
    fn money_is_time_times_price_and_buys_less_and_less() {
        let steps: Vec<Step> = (1..=2000)
            .map(|step| {
                let loss = 2.0 + 10.0 * libm::pow(step as f64, -0.5) + 0.125;
                Step { step, loss, rate: 1.0 }
            })
            .collect();
        let curve = Curve::fit(&steps).unwrap();
        let outlook = Outlook {
            steps: 4000,
            rate: Box::new(constant),
            rows: StepRows::of_tokens(1000, 0, 0, 10),
            sequence: 10,
            parameters: 1_000_000,
        };
        let bill = cost(2.0, 7200.0, (7000.0, 2_000_000), Some((&curve, &outlook)));
        assert_eq!((bill.hours, bill.so_far, bill.to_finish), (2.0, 4.0, Some(4.0)));
        assert!((bill.per_billion_tokens.unwrap() - 2000.0).abs() < 1e-6);
        let [ten, hundred] = bill.buys[..] else { panic!() };
        assert!(ten.1 > 0.0 && hundred.1 > ten.1 && hundred.1 < 10.0 * ten.1, "{bill:?}");
        let hundredth = bill.per_hundredth.unwrap();
        assert!(hundredth < 10.0 * 0.01 / ten.1 * 1.5, "{hundredth} {ten:?}");
        let forecast = forecast(&curve, &outlook);
        assert_eq!(forecast.twenty_tokens, 20_000_000);
        assert!(forecast.at_twenty.loss < forecast.end.loss);
        // A run whose batches grow has read less by its end, and pays for that.
        let rows = StepRows::of_tokens(1000, 10, 4000, 10);
        let growing = Outlook { rows, rate: Box::new(constant), ..outlook };
        let all = growing.tokens_before(4000);
        assert!(all > 1_900_000 && all < 2_100_000, "{all}");
        let bill = cost(2.0, 7200.0, (7000.0, all), Some((&curve, &growing)));
        assert_eq!(bill.to_finish, Some(0.0));
    }

    #[test]
    fn without_a_step_there_is_only_the_time() {
        let bill = cost(3.0, 1800.0, (0.0, 0), None);
        assert_eq!((bill.so_far, bill.per_billion_tokens, bill.buys.len()), (1.5, None, 0));
    }
}
