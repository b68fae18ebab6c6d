//! How fast the Hub may be asked: one token bucket for all connections of the process.
//!
//! In → the headers of every answer: `RateLimit: "resolvers";r=12;t=55` (so many requests are left
//! of that quota, which is full again in so many seconds), `Retry-After`; out → how long the next
//! request has to wait. A request takes a token before it is sent, so that many threads together
//! stay within a quota that is nearly used up. The Hub counts `api` and `resolvers` apart, in
//! windows of five minutes (hub-docs, `rate-limits.md`); its storage behind signed addresses is not
//! counted. Clocks decide when something is asked, never what comes of it.

#![expect(clippy::disallowed_types, reason = "quotas are filled up by the clock")]

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Windows that end this close together are one window, in which what is left can only fall.
const SAME_WINDOW: Duration = Duration::from_secs(2);

/// Which quota a request is counted against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    Api,
    Resolvers,
    /// None: storage, other hosts.
    Uncounted,
}

impl Quota {
    /// Its name in headers.
    fn name(self) -> Option<&'static str> {
        match self {
            Quota::Api => Some("api"),
            Quota::Resolvers => Some("resolvers"),
            Quota::Uncounted => None,
        }
    }
}

/// What is left of each quota.
#[derive(Debug, Default)]
pub struct Pace {
    windows: Mutex<BTreeMap<String, Window>>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    left: u64,
    full_at: Instant,
}

impl Pace {
    /// Takes a token, or says how long there is none.
    pub fn take(&self, quota: Quota) -> Result<(), Duration> {
        let Some(name) = quota.name() else { return Ok(()) };
        let now = Instant::now();
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(window) = windows.get_mut(name) else { return Ok(()) };
        if window.full_at <= now {
            windows.remove(name);
            return Ok(());
        }
        if window.left == 0 {
            return Err(window.full_at - now);
        }
        window.left -= 1;
        Ok(())
    }

    /// Takes in the `RateLimit` header of an answer.
    pub fn learn(&self, header: &str) {
        for item in header.split(',') {
            let Some((name, left, seconds)) = parse(item) else { continue };
            self.set(&name, left, Duration::from_secs(seconds));
        }
    }

    /// Closes a quota for `wait`, as an answer 429 demands.
    pub fn close(&self, quota: Quota, wait: Duration) {
        if let Some(name) = quota.name() {
            self.set(name, 0, wait);
        }
    }

    fn set(&self, name: &str, left: u64, wait: Duration) {
        let full_at = Instant::now() + wait;
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let window = windows.entry(name.to_owned()).or_insert(Window { left, full_at });
        let apart = full_at.max(window.full_at) - full_at.min(window.full_at);
        // Answers may arrive out of order, so within a window the smallest number counts.
        let left = if apart <= SAME_WINDOW { left.min(window.left) } else { left };
        *window = Window { left, full_at };
    }
}

/// `"resolvers";r=0;t=55` → its name, what is left, seconds to the next window.
fn parse(item: &str) -> Option<(String, u64, u64)> {
    let mut parts = item.split(';').map(str::trim);
    let name = parts.next()?.trim_matches('"').to_owned();
    let (mut left, mut seconds) = (None, None);
    for part in parts {
        match part.split_once('=')? {
            ("r", value) => left = value.parse().ok(),
            ("t", value) => seconds = value.parse().ok(),
            _ => {}
        }
    }
    Some((name, left?, seconds?))
}

/// The seconds that answer 429 asks to wait: those of the quota that is used up, else
/// `Retry-After`, as a number or as a date, which is held against the answer's own `Date`.
pub fn asked_wait(
    rate_limit: Option<&str>,
    retry_after: Option<&str>,
    date: Option<&str>,
) -> Option<u64> {
    let used_up = rate_limit.into_iter().flat_map(|header| header.split(',')).filter_map(parse);
    let used_up = used_up.filter(|(_, left, _)| *left == 0).map(|(_, _, seconds)| seconds).max();
    let asked = retry_after.and_then(|text| match text.trim().parse() {
        Ok(seconds) => Some(seconds),
        Err(_) => seconds_of(text)?.checked_sub(seconds_of(date?)?),
    });
    used_up.max(asked)
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7) as seconds since 1970.
fn seconds_of(date: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let parts: Vec<&str> = date.split_ascii_whitespace().collect();
    let [_, day, month, year, time, "GMT"] = parts.as_slice() else { return None };
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    let month = MONTHS.iter().position(|name| name == month)? as u64 + 1;
    let mut clock = time.split(':').map(|part| part.parse::<u64>().ok());
    let (hours, minutes, seconds) = (clock.next()??, clock.next()??, clock.next()??);
    // Days of the civil calendar, counted from March (Hinnant, `days_from_civil`).
    let year = if month <= 2 { year.checked_sub(1)? } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day.checked_sub(1)?;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + of_year;
    Some((days.checked_sub(719_468)? * 24 + hours) * 3600 + minutes * 60 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_shared_and_then_waited_for() {
        let pace = Pace::default();
        assert_eq!(pace.take(Quota::Resolvers), Ok(()));
        pace.learn(r#""api";r=7;t=200, "resolvers";r=2;t=55"#);
        assert_eq!(pace.take(Quota::Resolvers), Ok(()));
        // An answer to an older request says more than is left.
        pace.learn(r#""resolvers";r=2;t=55"#);
        assert_eq!(pace.take(Quota::Resolvers), Ok(()));
        let wait = pace.take(Quota::Resolvers).unwrap_err();
        assert!(wait > Duration::from_secs(50) && wait <= Duration::from_secs(55), "{wait:?}");
        assert_eq!(pace.take(Quota::Api), Ok(()));
        assert_eq!(pace.take(Quota::Uncounted), Ok(()));
    }

    #[test]
    fn a_closed_quota_opens_when_its_time_is_over() {
        let pace = Pace::default();
        pace.close(Quota::Api, Duration::from_millis(30));
        assert!(pace.take(Quota::Api).is_err());
        std::thread::sleep(Duration::from_millis(40));
        assert_eq!(pace.take(Quota::Api), Ok(()));
    }

    #[test]
    fn a_429_says_how_long_in_three_ways() {
        let limit = Some(r#""api";r=3;t=9, "resolvers";r=0;t=55"#);
        assert_eq!(asked_wait(limit, None, None), Some(55));
        assert_eq!(asked_wait(limit, Some("90"), None), Some(90));
        let (at, later) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:50:07 GMT");
        assert_eq!(asked_wait(None, Some(later), Some(at)), Some(30));
        assert_eq!(asked_wait(None, Some(later), None), None);
        assert_eq!(seconds_of(at), Some(784_111_777));
        assert_eq!(seconds_of("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
        for odd in ["", "soon", "\"x\";r=;t=1", "Sun, 00 Nov 0000 08:49:37 GMT"] {
            assert_eq!(asked_wait(Some(odd), Some(odd), Some(odd)), None, "{odd}");
        }
    }
}
