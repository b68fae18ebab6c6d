//! An ordered parallel map with bounded memory.
//!
//! In → an iterator of items; out → `sink(map(item))` for each, in the items' order; or, where an
//! item is large, `sink(map(part))` for the parts that `split` makes of it. Items are drawn by a
//! thread of their own, which mostly waits for a disk; `threads` threads split and map: the
//! caller's, which also hands results to `sink`, and `threads - 1` workers. So `threads` is the
//! number of cores in use, whatever the share of `sink`, and parts keep them busy to the end. At
//! most `in_flight` items exist between producer and sink, so memory is bounded by `in_flight` ×
//! the largest item, whatever the speed of the parts. Results do not depend on `threads`. The first
//! error (in input order) stops the work and is returned; a panic travels to the caller.

use std::{
    any::Any,
    collections::{BTreeMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use super::error::Result;

/// Runs `map` over `items` on `threads` threads, the caller's among them; `sink` sees the results
/// in input order.
pub fn ordered<I: Send, T: Send>(
    threads: usize,
    in_flight: usize,
    items: impl Iterator<Item = Result<I>> + Send,
    map: impl Fn(I) -> Result<T> + Sync,
    sink: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    ordered_parts(threads, in_flight, items, |item| Ok(vec![item]), map, sink)
}

/// Splits `items` and runs `map` over the parts on `threads` threads, the caller's among them;
/// `sink` sees the results in input order.
pub fn ordered_parts<I: Send, P: Send, T: Send>(
    threads: usize,
    in_flight: usize,
    items: impl Iterator<Item = Result<I>> + Send,
    split: impl Fn(I) -> Result<Vec<P>> + Sync,
    map: impl Fn(P) -> Result<T> + Sync,
    sink: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    let in_flight = in_flight.max(threads).max(1);
    let work = Work { state: Mutex::new(State::default()), changed: Condvar::new(), split, map };
    let done = thread::scope(|scope| {
        let work = &work;
        let _stop = StopAtEnd(work);
        scope.spawn(move || {
            // A panic here would leave the other threads waiting, so the caller is made to panic
            // instead.
            let drawn = catch_unwind(AssertUnwindSafe(|| work.draw(items, in_flight)));
            if let Err(panic) = drawn {
                work.lock().stop_for(panic);
                work.changed.notify_all();
            }
        });
        for _ in 1..threads {
            scope.spawn(move || work.help());
        }
        work.drain(sink)
    });
    let panic = work.state.into_inner().unwrap_or_else(PoisonError::into_inner).panic;
    panic.map_or(done, |panic| resume_unwind(panic))
}

/// What the threads share.
struct Work<I, P, T, S, M> {
    state: Mutex<State<I, P, T>>,
    changed: Condvar,
    split: S,
    map: M,
}

/// Items and parts are numbered from 0; a part is known by (its item, its place there).
struct State<I, P, T> {
    items: VecDeque<(usize, I)>,
    parts: BTreeMap<(usize, usize), P>,
    results: BTreeMap<(usize, usize), Result<T>>,
    /// Parts of the items that are split.
    lengths: BTreeMap<usize, usize>,
    drawn: usize,
    /// Items whose results the sink has taken.
    sunk: usize,
    /// No item will be drawn any more.
    is_drawn: bool,
    /// Items that are being split now: more parts may come of them.
    splitting: usize,
    stopped: bool,
    panic: Option<Box<dyn Any + Send>>,
}

type Guard<'a, I, P, T> = MutexGuard<'a, State<I, P, T>>;

impl<I, P, T> Default for State<I, P, T> {
    fn default() -> Self {
        State {
            items: VecDeque::new(),
            parts: BTreeMap::new(),
            results: BTreeMap::new(),
            lengths: BTreeMap::new(),
            drawn: 0,
            sunk: 0,
            is_drawn: false,
            splitting: 0,
            stopped: false,
            panic: None,
        }
    }
}

impl<I, P, T> State<I, P, T> {
    /// An item that became one result, without any part.
    fn fail(&mut self, index: usize, error: crate::base::error::Error) {
        self.lengths.insert(index, 1);
        self.results.insert((index, 0), Err(error));
    }

    /// Ends the work; the caller panics.
    fn stop_for(&mut self, panic: Box<dyn Any + Send>) {
        (self.panic, self.stopped) = (Some(panic), true);
    }

    /// Whether workers have nothing to wait for.
    fn is_handed_out(&self) -> bool {
        let is_empty = self.items.is_empty() && self.parts.is_empty() && self.splitting == 0;
        self.stopped || (self.is_drawn && is_empty)
    }
}

impl<I, P, T, S, M> Work<I, P, T, S, M>
where
    S: Fn(I) -> Result<Vec<P>>,
    M: Fn(P) -> Result<T>,
{
    fn lock(&self) -> Guard<'_, I, P, T> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: Guard<'a, I, P, T>) -> Guard<'a, I, P, T> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Draws items while there is room for them.
    fn draw(&self, items: impl Iterator<Item = Result<I>>, in_flight: usize) {
        for item in items {
            let mut state = self.lock();
            while state.drawn - state.sunk >= in_flight && !state.stopped {
                state = self.wait(state);
            }
            if state.stopped {
                return;
            }
            let index = state.drawn;
            state.drawn += 1;
            let failed = item.is_err();
            match item {
                Ok(item) => state.items.push_back((index, item)),
                Err(error) => state.fail(index, error),
            }
            self.changed.notify_all();
            if failed {
                break;
            }
        }
        self.lock().is_drawn = true;
        self.changed.notify_all();
    }

    /// Works until everything is handed out.
    fn help(&self) {
        let mut state = self.lock();
        while !state.is_handed_out() {
            state = match self.step(state) {
                Ok(state) => state,
                Err(state) => self.wait(state),
            };
        }
    }

    /// Maps the first part that waits, else splits the first item; `Err` when there is neither.
    fn step<'a>(
        &'a self,
        mut state: Guard<'a, I, P, T>,
    ) -> Result<Guard<'a, I, P, T>, Guard<'a, I, P, T>> {
        if let Some((place, part)) = state.parts.pop_first() {
            drop(state);
            let result = catch_unwind(AssertUnwindSafe(|| (self.map)(part)));
            let mut state = self.lock();
            match result {
                Ok(result) => drop(state.results.insert(place, result)),
                Err(panic) => state.stop_for(panic),
            }
            self.changed.notify_all();
            return Ok(state);
        }
        let Some((index, item)) = state.items.pop_front() else { return Err(state) };
        state.splitting += 1;
        drop(state);
        let parts = catch_unwind(AssertUnwindSafe(|| (self.split)(item)));
        let mut state = self.lock();
        state.splitting -= 1;
        match parts {
            Ok(Ok(parts)) => {
                state.lengths.insert(index, parts.len());
                let placed = parts.into_iter().enumerate();
                state.parts.extend(placed.map(|(place, part)| ((index, place), part)));
            }
            Ok(Err(error)) => state.fail(index, error),
            Err(panic) => state.stop_for(panic),
        }
        self.changed.notify_all();
        Ok(state)
    }

    /// Hands the results to `sink` in order, and works while there are none to hand on.
    fn drain(&self, mut sink: impl FnMut(T) -> Result<()>) -> Result<()> {
        let mut next = 0;
        let mut state = self.lock();
        while !state.stopped {
            let item = state.sunk;
            if state.lengths.get(&item) == Some(&next) {
                state.lengths.remove(&item);
                (state.sunk, next) = (item + 1, 0);
                self.changed.notify_all();
            } else if let Some(result) = state.results.remove(&(item, next)) {
                // Results first: they hold memory.
                drop(state);
                sink(result?)?;
                next += 1;
                state = self.lock();
            } else if state.is_drawn && item == state.drawn {
                return Ok(());
            } else {
                state = match self.step(state) {
                    Ok(state) => state,
                    Err(state) => self.wait(state),
                };
            }
        }
        Ok(())
    }
}

/// Lets the other threads go, also when the caller's panics.
struct StopAtEnd<'a, I, P, T, S, M>(&'a Work<I, P, T, S, M>);

impl<I, P, T, S, M> Drop for StopAtEnd<'_, I, P, T, S, M> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).stopped = true;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::Error;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    #[test]
    fn results_come_in_input_order_at_any_thread_count() {
        for threads in [1, 2, 7] {
            let mut seen = Vec::new();
            let items = (0..500u64).map(Ok);
            let uneven = |item: u64| {
                std::hint::black_box((0..(item % 7) * 1000).sum::<u64>());
                Ok(item * 2)
            };
            ordered(threads, 8, items, uneven, |item| {
                seen.push(item);
                Ok(())
            })
            .unwrap();
            assert_eq!(seen, (0..500).map(|item| item * 2).collect::<Vec<_>>());
        }
    }

    #[test]
    fn parts_come_in_order_and_an_item_may_have_none() {
        for threads in [1, 2, 5] {
            let mut seen = Vec::new();
            let split = |item: usize| Ok((0..item % 4).map(|part| (item, part)).collect());
            let map = |part| Ok(part);
            let sink = |part| {
                seen.push(part);
                Ok(())
            };
            ordered_parts(threads, 6, (0..200).map(Ok), split, map, sink).unwrap();
            let parts = (0..200).flat_map(|item| (0..item % 4).map(move |part| (item, part)));
            assert_eq!(seen, parts.collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_error_of_a_part_or_of_splitting_comes_in_its_place() {
        let run = |bad_item: usize, bad_part: usize| {
            let split = |item: usize| match item == bad_item {
                true => Err(Error::failed(format!("item {item}"))),
                false => Ok((0..3).map(|part| item * 3 + part).collect::<Vec<usize>>()),
            };
            let map = |part: usize| match part == bad_part {
                true => Err(Error::failed(format!("part {part}"))),
                false => Ok(part),
            };
            ordered_parts(3, 4, (0..100).map(Ok), split, map, |_| Ok(())).unwrap_err().to_string()
        };
        assert_eq!(run(40, 119), "part 119");
        assert_eq!(run(40, 120), "item 40");
        assert_eq!(run(40, 200), "item 40");
    }

    #[test]
    fn no_more_items_exist_than_allowed() {
        let alive = AtomicUsize::new(0);
        let items = (0..200).map(|item| {
            let now = alive.fetch_add(1, Relaxed) + 1;
            // One more than `in_flight`: the item drawn while waiting for its ticket.
            assert!(now <= 5, "{now} items alive");
            Ok(item)
        });
        ordered(2, 4, items, Ok, |_: i32| {
            alive.fetch_sub(1, Relaxed);
            Ok(())
        })
        .unwrap();
    }

    #[test]
    fn a_panic_reaches_the_caller() {
        let panics = |item: u64| match item {
            40 => panic!("a bug"),
            _ => Ok(item),
        };
        for threads in [1, 2, 4] {
            let run = || ordered(threads, 4, (0..1000).map(Ok), panics, |_| Ok(()));
            assert!(catch_unwind(run).is_err());
            let sink = |item| panics(item).map(drop);
            let run = || ordered(threads, 4, (0..1000).map(Ok), Ok, sink);
            assert!(catch_unwind(run).is_err(), "a panic of the sink");
            let items = || (0..100).map(|item| Ok(panics(item).unwrap_or(item)));
            let run = || ordered(threads, 4, items(), Ok, |_| Ok(()));
            assert!(catch_unwind(run).is_err(), "a panic of the items");
        }
    }

    #[test]
    fn the_first_error_in_input_order_stops_everything() {
        let fail = |item: i32| match item {
            30.. => Err(Error::failed(format!("item {item}"))),
            _ => Ok(item),
        };
        let mut seen = 0;
        let result = ordered(3, 6, (0..1000).map(Ok), fail, |_| {
            seen += 1;
            Ok(())
        });
        assert_eq!(result.unwrap_err().to_string(), "item 30");
        assert_eq!(seen, 30);
    }
}
