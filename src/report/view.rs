//! How a page is wanted, and how it says what all its parts say.
//!
//! In → choices of a person; out → [`View`]; seconds → words. Pure.

use super::records::Run;

/// How the page is wanted.
#[derive(Default)]
pub struct View {
    /// What the bits per byte are held against.
    pub baseline: Option<Run>,
    /// Of an hour, instead of what runs say.
    pub price_per_hour: Option<f64>,
    /// Whether the page asks for news of its own accord.
    pub live: bool,
}

/// Seconds as people say them.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match whole {
        0..60 => format!("{seconds:.0} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..172_800 => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{:.1} days", seconds / 86400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_say_them() {
        let cases = [(7.4, "7 s"), (61.0, "1 min 1 s"), (7260.0, "2 h 1 min"), (2e5, "2.3 days")];
        for (seconds, expected) in cases {
            assert_eq!(duration(seconds), expected);
        }
    }
}
