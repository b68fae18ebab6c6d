//! Stop strings in a text that comes in pieces.
//!
//! In → pieces; out → the same text up to the first stop string, no part of which is passed on: an
//! end that may still become one is held back. The earliest one counts, wherever pieces are cut.

/// Looks for the first of several texts.
pub struct StopFinder {
    stops: Vec<String>,
    held: String,
    found: Option<usize>,
}

impl StopFinder {
    /// None of `stops` is empty.
    pub fn new(stops: &[String]) -> StopFinder {
        StopFinder { stops: stops.to_vec(), held: String::new(), found: None }
    }

    /// What of the text up to here is certainly before any stop string.
    pub fn push(&mut self, piece: &str) -> String {
        if self.found.is_some() {
            return String::new();
        }
        self.held.push_str(piece);
        let places = self.stops.iter().enumerate();
        let first = places.filter_map(|(stop, text)| Some((self.held.find(text)?, stop))).min();
        let sure = match first {
            Some((at, stop)) => {
                self.found = Some(stop);
                at
            }
            None => self.held.len() - self.may_begin(),
        };
        let rest = self.held.split_off(sure);
        std::mem::replace(&mut self.held, rest)
    }

    /// Bytes at the end that a stop string may begin with.
    fn may_begin(&self) -> usize {
        let begins = |at: usize| {
            let end = &self.held[at..];
            self.stops.iter().any(|stop| stop.len() > end.len() && stop.starts_with(end))
        };
        let first = self.held.char_indices().map(|(at, _)| at).find(|&at| begins(at));
        first.map_or(0, |at| self.held.len() - at)
    }

    /// The stop string that came.
    pub fn found(&self) -> Option<&str> {
        self.found.map(|stop| self.stops[stop].as_str())
    }

    /// What was held back and is no stop string.
    pub fn finish(&mut self) -> String {
        if self.found.is_some() { String::new() } else { std::mem::take(&mut self.held) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text before the stop, and the stop, of pieces of each length.
    fn assert_stops(text: &str, stops: &[&str], before: &str, stop: Option<&str>) {
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let characters: Vec<char> = text.chars().collect();
        for length in 1..=characters.len().max(1) {
            let mut finder = StopFinder::new(&stops);
            let mut passed = String::new();
            for piece in characters.chunks(length) {
                let sure = finder.push(&piece.iter().collect::<String>());
                passed.push_str(&sure);
                assert!(before.starts_with(&passed), "{length}: {passed:?} came too early");
            }
            passed.push_str(&finder.finish());
            assert_eq!((passed.as_str(), finder.found()), (before, stop), "pieces of {length}");
        }
    }

    #[test]
    fn the_first_stop_ends_a_text_however_it_is_cut() {
        assert_stops("one\n\ntwo", &["\n\n"], "one", Some("\n\n"));
        assert_stops("one\ntwo\n", &["\n\n"], "one\ntwo\n", None);
        assert_stops("aaab", &["aab"], "a", Some("aab"));
        assert_stops("größer als €5", &["€", "als"], "größer ", Some("als"));
        assert_stops("", &["x"], "", None);
        assert_stops("no stops", &[], "no stops", None);
    }
}
