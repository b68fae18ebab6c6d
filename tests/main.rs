//! One test binary: behaviour through the command line, formats, and the house rules.

mod cli;
mod conditions;
mod damage;
mod dedup;
mod determinism;
mod filter;
mod quickstart;
mod resume;
mod support;
mod tidy;
mod vocabulary;
