//! Memory that a training step frees and the next one allocates again, kept in between.
//!
//! In → nothing; out → [`KeptPages`], for as long as steps follow each other. The binary's
//! allocator returns freed memory to the system after some milliseconds, and a step that allocates
//! it again pays a page fault for every 4 KiB: up to a fifth of the CPU time of a step of 4 million
//! parameters. **Invariants.** Changes no number; has no effect under another allocator. **Cost.**
//! The memory of a step's peak stays with the process until the last [`KeptPages`] is dropped.

#![allow(unsafe_code, reason = "an option of the allocator, which is C")]

use std::ffi::{c_int, c_long};
use std::sync::{Mutex, PoisonError};

use libmimalloc_sys as _; // the library whose functions these are

unsafe extern "C" {
    fn mi_option_get(option: c_int) -> c_long;
    fn mi_option_set(option: c_int, value: c_long);
    fn mi_collect(force: bool);
}

/// `mi_option_purge_delay` of mimalloc 2 and 3: milliseconds until freed memory is returned.
const PURGE_DELAY: c_int = 15;

/// The delay that means never.
const NEVER: c_long = -1;

/// How many [`KeptPages`] exist, and the delay before the first of them.
static HOLDERS: Mutex<(usize, c_long)> = Mutex::new((0, 0));

/// While one exists, freed memory stays with the process.
pub struct KeptPages(());

impl KeptPages {
    /// Keeps pages from now on.
    pub fn hold() -> KeptPages {
        let mut holders = HOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
        if holders.0 == 0 {
            // SAFETY: reads and writes a number that the allocator reads when it frees; the lock
            // keeps other calls like this one out.
            unsafe {
                holders.1 = mi_option_get(PURGE_DELAY);
                mi_option_set(PURGE_DELAY, NEVER);
            }
        }
        holders.0 += 1;
        KeptPages(())
    }
}

impl Drop for KeptPages {
    fn drop(&mut self) {
        let mut holders = HOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
        holders.0 -= 1;
        if holders.0 == 0 {
            // SAFETY: as above; a collection touches only freed memory.
            unsafe {
                mi_option_set(PURGE_DELAY, holders.1);
                mi_collect(true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_kept_until_the_last_holder_goes() {
        // SAFETY: reads a number.
        let delay = || unsafe { mi_option_get(PURGE_DELAY) };
        let first = KeptPages::hold();
        let second = KeptPages::hold();
        drop(first);
        assert_eq!(delay(), NEVER);
        drop(second);
    }
}
