//! An ordered parallel map with bounded memory.
//!
//! In → an iterator of items; out → `sink(map(item))` for each, in the items' order. Items are
//! drawn by a producer thread, mapped by `threads` workers and handed to `sink` on the caller's
//! thread. At most `in_flight` items exist between producer and sink, so memory is bounded by
//! `in_flight` × the largest item, whatever the speed of the parts. Results do not depend on
//! `threads`. The first error (in input order) stops the work and is returned.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

use crossbeam_channel::{bounded, unbounded};

use super::error::Result;

/// Runs `map` over `items` on `threads` workers; `sink` sees the results in input order.
pub fn ordered<I: Send, T: Send>(
    threads: usize,
    in_flight: usize,
    items: impl Iterator<Item = Result<I>> + Send,
    map: impl Fn(I) -> Result<T> + Sync,
    mut sink: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    let in_flight = in_flight.max(threads).max(1);
    let (tickets_out, tickets) = bounded::<()>(in_flight);
    let (work_in, work) = unbounded::<(usize, Result<I>)>();
    let (done_in, done) = unbounded::<(usize, thread::Result<Result<T>>)>();
    let stopped = AtomicBool::new(false);
    let result = thread::scope(|scope| {
        let stopped = &stopped;
        scope.spawn(move || {
            for (index, item) in items.enumerate() {
                // A ticket is given back when the sink has taken the result of an earlier item.
                if tickets_out.send(()).is_err() || stopped.load(Relaxed) {
                    return;
                }
                let failed = item.is_err();
                if work_in.send((index, item)).is_err() || failed {
                    return;
                }
            }
        });
        for _ in 0..threads.max(1) {
            let (work, done_in, map) = (work.clone(), done_in.clone(), &map);
            scope.spawn(move || {
                for (index, item) in work {
                    if stopped.load(Relaxed) {
                        return;
                    }
                    // A panic travels to the caller: here it would leave the others waiting.
                    let result = catch_unwind(AssertUnwindSafe(|| item.and_then(map)));
                    if done_in.send((index, result)).is_err() {
                        return;
                    }
                }
            });
        }
        drop((work, done_in));
        let result = drain(done, || tickets.recv().is_ok(), &mut sink);
        stopped.store(true, Relaxed);
        drop(tickets);
        result
    });
    result.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Hands the results to `sink` in order; `release` gives back one ticket. The outer error is a
/// panic of `map`.
fn drain<T>(
    done: crossbeam_channel::Receiver<(usize, thread::Result<Result<T>>)>,
    release: impl Fn() -> bool,
    sink: &mut impl FnMut(T) -> Result<()>,
) -> thread::Result<Result<()>> {
    let mut waiting = BTreeMap::new();
    let mut next = 0;
    for (index, result) in done {
        waiting.insert(index, result?);
        while let Some(result) = waiting.remove(&next) {
            if let Err(error) = result.and_then(&mut *sink) {
                return Ok(Err(error));
            }
            release();
            next += 1;
        }
    }
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::Error;
    use std::sync::atomic::AtomicUsize;

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
        let run = || ordered(2, 4, (0..1000).map(Ok), panics, |_| Ok(()));
        assert!(catch_unwind(run).is_err());
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
