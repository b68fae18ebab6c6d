//! `download`: what can be typed of it beside its addresses.
//!
//! In → `argv`; out → keys of the stage. What is done lives in [`crate::download`].

use clap::Args;

use super::args::{Flags, put};
use crate::base::config::Table;

/// Flags of `download`. IN is `[NAME=]ADDRESS`.
#[derive(Args, Debug)]
#[command(next_help_heading = "What to fetch, and how")]
pub struct DownloadFlags {
    /// Branch, tag or commit of every address of the Hub that names none [default: main]
    #[arg(long, value_name = "REV")]
    revision: Option<String>,
    /// Requests at once [default: 8]
    #[arg(long, value_name = "N")]
    connections: Option<u32>,
    /// Put nothing into the Hub's cache; what lies there is used all the same
    #[arg(long)]
    no_cache: bool,
}

impl Flags for DownloadFlags {
    fn fill(&self, keys: &mut Table) {
        put(keys, "revision", self.revision.clone());
        put(keys, "connections", self.connections.map(i64::from));
        put(keys, "cache", self.no_cache.then_some(false));
    }
}
