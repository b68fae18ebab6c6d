//! An ordered parallel map with bounded memory.
//!
//! In → an iterator of items; out → `sink(map(item))` for each, in the items' order. Items are
//! drawn by a thread of their own, which mostly waits for a disk, and mapped by `threads` threads:
//! the caller's, which also hands results to `sink`, and `threads - 1` workers. So `threads` is the
//! number of cores in use, whatever the share of `sink`. At most `in_flight` items exist between
//! producer and sink, so memory is bounded by `in_flight` × the largest item, whatever the speed of
//! the parts. Results do not depend on `threads`. The first error (in input order) stops the work
//! and is returned.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

use crossbeam_channel::{Receiver, bounded, never, select_biased, unbounded};

use super::error::Result;

/// Runs `map` over `items` on `threads` threads, the caller's among them; `sink` sees the results
/// in input order.
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
    let (done_in, done) = unbounded::<(usize, Mapped<T>)>();
    let stopped = AtomicBool::new(false);
    // A panic travels to the caller: where it happens it would leave the others waiting.
    let run = |item: Result<I>| catch_unwind(AssertUnwindSafe(|| item.and_then(&map)));
    let result = thread::scope(|scope| {
        let (stopped, run) = (&stopped, &run);
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
        for _ in 1..threads {
            let (work, done_in) = (work.clone(), done_in.clone());
            scope.spawn(move || {
                for (index, item) in work {
                    if stopped.load(Relaxed) || done_in.send((index, run(item))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done_in);
        let result = drain(done, work, run, || tickets.recv().is_ok(), &mut sink);
        stopped.store(true, Relaxed);
        drop(tickets);
        result
    });
    result.unwrap_or_else(|panic| resume_unwind(panic))
}

/// What `map` returned; the outer error is its panic.
type Mapped<T> = thread::Result<Result<T>>;

/// Hands the results to `sink` in order, and maps items itself while there are none to hand on;
/// `release` gives back one ticket. The outer error is a panic of `map`.
fn drain<I, T>(
    mut done: Receiver<(usize, Mapped<T>)>,
    mut work: Receiver<(usize, Result<I>)>,
    run: impl Fn(Result<I>) -> Mapped<T>,
    release: impl Fn() -> bool,
    sink: &mut impl FnMut(T) -> Result<()>,
) -> Mapped<()> {
    let mut waiting = BTreeMap::new();
    let (mut next, mut open) = (0, 2);
    while open > 0 {
        // Results first: they hold memory.
        let arrived = select_biased! {
            recv(done) -> message => message.inspect_err(|_| done = never()),
            recv(work) -> message => match message {
                Ok((index, item)) => Ok((index, run(item))),
                Err(closed) => { work = never(); Err(closed) }
            },
        };
        match arrived {
            Ok((index, result)) => waiting.insert(index, result?),
            Err(_) => {
                open -= 1;
                continue;
            }
        };
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
