//! Numbers of a JSON file, bit for bit as they were written.
//!
//! In → a field of JSON text; out → the f64 nearest to its digits, which is the one that was
//! written. `serde_json` reads numbers faster, but a number of 17 digits is sometimes off by one
//! bit; a run must resume from exactly the numbers it stopped with. For
//! `#[serde(deserialize_with = …)]`.

use serde::{Deserialize, Deserializer, de::Error};
use serde_json::value::RawValue;

/// A number.
pub fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    parse(&Box::<RawValue>::deserialize(deserializer)?)
}

/// A number, or null.
pub fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    Option::<Box<RawValue>>::deserialize(deserializer)?.as_deref().map(parse).transpose()
}

/// A list of pairs.
pub fn pairs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<[f64; 2]>, D::Error> {
    let pairs = Vec::<[Box<RawValue>; 2]>::deserialize(deserializer)?;
    pairs.iter().map(|[one, other]| Ok([parse(one)?, parse(other)?])).collect()
}

fn parse<E: Error>(text: &RawValue) -> Result<f64, E> {
    text.get().parse().map_err(|_| E::custom(format!("`{}` is no number", text.get())))
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct State {
        #[serde(deserialize_with = "number")]
        one: f64,
        #[serde(deserialize_with = "optional")]
        maybe: Option<f64>,
        #[serde(deserialize_with = "pairs")]
        list: Vec<[f64; 2]>,
    }

    #[test]
    fn every_number_comes_back_to_the_bit() {
        let hard = 1.3125578186259599;
        for maybe in [None, Some(hard)] {
            let state = State { one: hard, maybe, list: vec![[hard, 0.1 + 0.2], [1e-300, 3.0]] };
            let text = serde_json::to_string(&state).unwrap();
            assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
        }
        assert!(serde_json::from_str::<State>(r#"{"one":"x","maybe":null,"list":[]}"#).is_err());
    }
}
