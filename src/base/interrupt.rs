//! Ctrl-C and SIGTERM: the first asks the work to stop at its next safe point, the second ends
//! the process at once.
//!
//! In → signals; out → [`requested`]. What is published stays, whichever it was.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::error::{Error, Result};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Installs the handler; for `main`, once.
pub fn install() -> Result<()> {
    let handler = || {
        if REQUESTED.swap(true, Relaxed) {
            std::process::exit(130);
        }
    };
    ctrlc::set_handler(handler).map_err(|error| Error::failed(error.to_string()))
}

/// Whether the work should stop at its next safe point.
pub fn requested() -> bool {
    REQUESTED.load(Relaxed)
}

/// `Err(Ended)` once a stop was asked for, for what keeps nothing.
pub fn check_end() -> Result<()> {
    if requested() { Err(Error::Ended) } else { Ok(()) }
}

/// `Err(Interrupted)` once a stop was asked for.
pub fn check() -> Result<()> {
    if requested() { Err(Error::Interrupted) } else { Ok(()) }
}
