//! Sizes as people write them: `8GiB`, `128MiB`, `1B`, `32k`.
//!
//! In → an integer or text; out → [`Bytes`] or [`Count`]; times and shares as text. Binary units
//! only with the `i` (`GiB`); decimal ones without (`GB`, `k`, `M`, `B` for 10⁹, `T`). Stored and
//! compared as integers, so `32k` and `32000` give the same fingerprint.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number of bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Bytes(pub u64);

/// A number of things: tokens, documents, steps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Count(pub u64);

const BYTE_UNITS: [(&str, u64); 10] = [
    ("", 1),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];
const COUNT_UNITS: [(&str, u64); 6] = [
    ("", 1),
    ("k", 1000),
    ("K", 1000),
    ("M", 1_000_000),
    ("B", 1_000_000_000),
    ("T", 1_000_000_000_000),
];

/// `1.5GiB` → 1.5 × 2³⁰; the product must be a whole number.
fn parse(text: &str, units: &[(&str, u64)], example: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size: expected a number such as `{example}`");
    let text = text.trim().replace('_', "");
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(wrong)?;
    let number = number.trim();
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if !number.starts_with(|c: char| c.is_ascii_digit()) || fraction.len() > 12 {
        return Err(wrong());
    }
    let scale = 10u128.pow(fraction.len() as u32);
    let digits: u128 = format!("{whole}{fraction}").parse().map_err(|_| wrong())?;
    let product = digits * u128::from(*factor);
    match product % scale {
        0 => u64::try_from(product / scale).map_err(|_| wrong()),
        _ => Err(format!("`{text}` is not a whole number")),
    }
}

/// A value of a configuration as it is parsed from text: `32000` and `"32k"` alike.
pub fn as_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    })
}

macro_rules! size {
    ($name:ident, $units:ident, $example:literal) => {
        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                parse(text, &$units, $example).map($name)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_u64(self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                as_text(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
size!(Bytes, BYTE_UNITS, "8GiB");
size!(Count, COUNT_UNITS, "32k");

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("TiB", 1u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        match units.iter().find(|(_, size)| self.0 >= *size) {
            Some((unit, size)) => f.pad(&format!("{:.1} {unit}", self.0 as f64 / *size as f64)),
            None => f.pad(&format!("{} B", self.0)),
        }
    }
}

impl Count {
    /// `1 file`, `14 files`
    pub fn of(self, thing: &str) -> String {
        format!("{self} {thing}{}", if self.0 == 1 { "" } else { "s" })
    }
}

impl fmt::Display for Count {
    /// Grouped digits: `1,234,567`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::with_capacity(digits.len() + digits.len() / 3);
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        f.pad(&text)
    }
}

/// A time as people read it: `7 s`, `1 min 1 s`, `2 h 1 min`, `2.3 days`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match whole {
        0..60 => format!("{seconds:.0} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..172_800 => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{:.1} days", seconds / 86400.0),
    }
}

/// A share as people read it: 0.934 → `93.4%`.
pub fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        let bytes = |text: &str| text.parse::<Bytes>().map(|bytes| bytes.0);
        assert_eq!(bytes("8GiB"), Ok(8 << 30));
        assert_eq!(bytes("1.5 MiB"), Ok(3 << 19));
        assert_eq!(bytes("10kB"), Ok(10_000));
        assert!(bytes("8 gigs").is_err() && bytes("-1").is_err() && bytes("").is_err());
        let count = |text: &str| text.parse::<Count>().map(|count| count.0);
        assert_eq!(count("32k"), Ok(32_000));
        assert_eq!(count("1.5B"), Ok(1_500_000_000));
        assert_eq!(count("1_000"), Ok(1000));
        assert!(count("0.5").is_err());
    }

    #[test]
    fn sizes_print_for_people() {
        assert_eq!(Bytes(3 << 19).to_string(), "1.5 MiB");
        assert_eq!(Count(1_234_567).to_string(), "1,234,567");
        assert_eq!(Count(999).to_string(), "999");
        assert_eq!(percent(0.934), "93.4%");
        let times = [7.4, 61.0, 7260.0, 2e5].map(duration);
        assert_eq!(times, ["7 s", "1 min 1 s", "2 h 1 min", "2.3 days"]);
    }
}
