//! Ranges of a file, fetched before they are asked for, and handed out in order.
//!
//! In → a file and its ranges, in the order of reading; out → their bytes. A few threads ask for
//! what comes next, so that the time a request takes is not waited for once a range. What is
//! fetched and not taken is bounded, by [`AHEAD_BYTES`] or one range. Dropped early, nothing more
//! is asked for.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::Stored;
use crate::base::error::Result;

/// Bytes fetched and not taken, about.
pub const AHEAD_BYTES: u64 = 32 << 20;

/// Requests of one file at once: `aria2` and `hf_transfer` use more, but a unit is not alone.
const REQUESTS: usize = 4;

/// Fetches ranges of one file.
pub struct Ahead {
    shared: Arc<Shared>,
    next: usize,
    is_running: bool,
}

struct Shared {
    file: Stored,
    ranges: Vec<Range<u64>>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The next range that nobody has asked for.
    next: usize,
    /// Bytes asked for and not taken.
    ahead: u64,
    arrived: BTreeMap<usize, Result<Bytes>>,
    is_over: bool,
}

impl Ahead {
    /// Fetches nothing before the first [`Ahead::take`].
    pub fn new(file: Stored, ranges: Vec<Range<u64>>) -> Ahead {
        let (state, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { file, ranges, state, changed });
        Ahead { shared, next: 0, is_running: false }
    }

    /// How many ranges were taken.
    pub fn taken(&self) -> usize {
        self.next
    }

    /// The bytes of the next range.
    ///
    /// # Panics
    /// When all were taken.
    pub fn take(&mut self) -> Result<(Range<u64>, Bytes)> {
        let range = self.shared.ranges[self.next].clone();
        if !self.is_running {
            self.is_running = true;
            for _ in 0..REQUESTS.min(self.shared.ranges.len()) {
                let shared = self.shared.clone();
                std::thread::spawn(move || shared.fetch());
            }
        }
        let mut state = self.shared.locked();
        let bytes = loop {
            match state.arrived.remove(&self.next) {
                Some(bytes) => break bytes,
                None => state = self.shared.wait(state),
            }
        };
        self.next += 1;
        state.ahead -= range.end - range.start;
        self.shared.changed.notify_all();
        Ok((range, bytes?))
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.shared.locked().is_over = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// One thread's part: the next range, as long as there is room, until all are fetched.
    fn fetch(&self) {
        let mut state = self.locked();
        loop {
            let Some(range) = self.ranges.get(state.next).filter(|_| !state.is_over) else {
                return;
            };
            let length = range.end - range.start;
            if state.ahead > 0 && state.ahead + length > AHEAD_BYTES {
                state = self.wait(state);
                continue;
            }
            let index = state.next;
            state.next += 1;
            state.ahead += length;
            drop(state);
            let bytes = self.file.read(range.clone());
            state = self.locked();
            // Ranges after an error are not fetched.
            state.is_over |= bytes.is_err();
            state.arrived.insert(index, bytes);
            self.changed.notify_all();
        }
    }
}
