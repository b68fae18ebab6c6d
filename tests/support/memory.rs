//! What a thread asks of memory: its largest request, and the most that it holds at once.
//!
//! In → a closure; out → what it returned, and bytes. A thread is told of what it allocates and
//! frees itself, so what is measured runs on one thread from beginning to end. The allocator is the
//! system's, with some additions of whole numbers.

#![allow(unsafe_code, reason = "an allocator is unsafe by its trait")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
    /// Bytes that this thread holds, less than none where it frees what others made.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

struct Watching;

#[global_allocator]
static ALLOCATOR: Watching = Watching;

/// Memory of `bytes` in the place of `instead_of`. A thread that ends is watched by nobody.
fn note(bytes: usize, instead_of: usize) {
    let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(bytes)));
    let held = HELD.try_with(|held| {
        held.set(held.get() + bytes as isize - instead_of as isize);
        held.get()
    });
    let _ = MOST.try_with(|most| most.set(most.get().max(held.unwrap_or_default())));
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), 0);
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), 0);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size, layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        note(0, layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

/// What `body` returned, and the bytes of the largest allocation it asked for.
pub fn largest_request<T>(body: impl FnOnce() -> T) -> (T, usize) {
    LARGEST.set(0);
    let outcome = body();
    (outcome, LARGEST.get())
}

/// What `body` returned, and how many bytes more than before this thread held at the most.
#[cfg(feature = "train")]
pub fn most_held<T>(body: impl FnOnce() -> T) -> (T, u64) {
    let before = HELD.get();
    MOST.set(before);
    let outcome = body();
    (outcome, (MOST.get() - before) as u64)
}
