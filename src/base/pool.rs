//! Things that threads lend from each other: tables, scratch, whatever is costly to make anew.
//!
//! Work that needs one in → its result; the thing goes back for whoever comes next. There are as
//! many as were ever needed at once. Invariant: which one a piece of work gets must not show in its
//! result. Cost: an uncontended lock twice a call.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The objects that no thread uses now.
#[derive(Debug)]
pub struct Pool<T> {
    idle: Mutex<Vec<T>>,
}

impl<T> Default for Pool<T> {
    fn default() -> Pool<T> {
        Pool { idle: Mutex::default() }
    }
}

impl<T> Pool<T> {
    /// Lends an idle object to `work`, or a new one that `make` makes.
    pub fn with<R>(&self, make: impl FnOnce() -> T, work: impl FnOnce(&mut T) -> R) -> R {
        let mut lent = self.take().unwrap_or_else(make);
        let result = work(&mut lent);
        self.put(lent);
        result
    }

    /// Takes out an idle object; [`Pool::put`] gives it back, also from another thread.
    pub fn take(&self) -> Option<T> {
        self.idle().pop()
    }

    /// Takes one back.
    pub fn put(&self, lent: T) {
        self.idle().push(lent);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<T>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All objects, once no thread uses them.
    pub fn into_inner(self) -> Vec<T> {
        self.idle.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_lent_again_and_another_made_while_it_is_away() {
        let pool = Pool::default();
        pool.with(Vec::new, |outer| {
            outer.push("outer");
            pool.with(Vec::new, |inner| inner.push("inner"));
        });
        pool.with(|| panic!("two are idle"), |again: &mut Vec<&str>| again.push("again"));
        let mut all = pool.into_inner();
        all.sort();
        assert_eq!(all.concat().len(), 3);
        assert_eq!(all.len(), 2);
    }
}
