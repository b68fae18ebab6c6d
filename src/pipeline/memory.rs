//! How many threads and lanes the memory allows, before any work.
//!
//! In → a stage's need by threads ([`Stage::needs`]: the number a dry run shows) and `--memory`;
//! out → the threads it runs with, fewer than asked for where that fits, or a refusal with the
//! number that would do. Results do not depend on threads, so nobody sees this but in time.

use crate::{
    artifact::stage::Stage,
    base::{
        error::{Error, Result},
        size::Bytes,
    },
};

/// The most threads, up to `threads`, whose need fits `memory`; with a notice where they are fewer.
///
/// # Errors
/// [`Error::Config`] where even one thread needs more.
pub fn threads(
    stage: &dyn Stage,
    threads: usize,
    memory: Bytes,
) -> Result<(usize, Option<String>)> {
    let need = |threads| stage.needs(threads).memory;
    let name = stage.name();
    let Some(fit) = (1..=threads.max(1)).rev().find(|threads| need(*threads) <= memory.0) else {
        let least = Bytes(need(1));
        let message = format!("`{name}` needs {least} of memory, allowed are {memory}");
        return Err(Error::config(message).with_hint(format!(
            "`--memory {}MiB` allows it with one thread; the default is half of what there is",
            least.0.div_ceil(1 << 20)
        )));
    };
    let all = Bytes(need(threads));
    let notice = format!("{name} used {fit} of {threads} threads: all would take {all} of memory");
    Ok((fit, (fit < threads).then_some(notice)))
}

/// How many units may be worked on at a time, each with the memory that a unit takes on one thread.
pub fn lanes(stage: &dyn Stage, memory: Bytes) -> usize {
    (memory.0 / stage.needs(1).memory.max(1)).clamp(1, 1 << 16) as usize
}
