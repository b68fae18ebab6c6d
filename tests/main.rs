//! One test binary: behaviour through the command line, formats, and the house rules.

mod dedup;
mod tidy;
