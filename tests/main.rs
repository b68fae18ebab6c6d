//! One test binary: behaviour through the command line, formats, and the house rules.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "what tests make is not kept"
)]

#[cfg(feature = "train")]
mod ablations;
mod changing_inputs;
mod cli;
mod compare;
mod conditions;
mod damage;
mod dedup;
mod determinism;
#[cfg(feature = "train")]
mod evals;
mod every_format;
#[cfg(feature = "train")]
mod export;
mod filter;
#[cfg(feature = "train")]
mod forecast;
#[cfg(all(feature = "train", feature = "hub"))]
mod formats;
mod fuzz;
#[cfg(feature = "train")]
mod gpu;
mod held_out;
#[cfg(feature = "hub")]
mod hub;
mod inputs;
mod inspect;
mod interop;
mod kept;
#[cfg(feature = "train")]
mod kernels;
mod log;
mod mixes;
mod outputs;
#[cfg(feature = "query")]
mod query;
mod quickstart;
mod recipes;
#[cfg(feature = "hub")]
mod remote;
#[cfg(feature = "train")]
mod report;
mod resume;
mod screens;
mod scripts;
#[cfg(feature = "serve")]
mod serve;
mod store;
mod support;
mod tidy;
#[cfg(feature = "train")]
mod training;
mod vocabulary;
