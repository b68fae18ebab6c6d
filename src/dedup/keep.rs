//! Keep order: which of several copies stays.
//!
//! In → what a policy looks at (text length, or a column's value); out → a key that sorts the
//! document to keep first. Held-out documents come before all others, whatever the policy, so that
//! no twin of them stays on the training side; then the policy's key; then the input ordinal. The
//! order is total, so a decision never depends on who was compared first.
//!
//! Cost: 8 bytes a document for the key, one bit for the held-out mark.

/// Where a document stands; the smallest of a group is the one that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeepOrder {
    /// `false` for held-out documents: they come first.
    pub training: bool,
    /// The policy's key: see [`first`], [`longest`], [`max_integer`], [`max_number`].
    pub key: u64,
    /// Position in the input: the last tie-breaker.
    pub ordinal: u32,
}

/// The key of a null or NaN value: behind every other one.
pub const LAST: u64 = u64::MAX;

/// Policy `first`: input order alone.
pub fn first() -> u64 {
    0
}

/// Policy `longest`: more UTF-8 bytes of text first.
pub fn longest(text_bytes: usize) -> u64 {
    !(text_bytes as u64)
}

/// Policy `max:COLUMN` on integers, dates and times: the larger first.
pub fn max_integer(value: i64) -> u64 {
    // Flipping the sign bit turns signed order into unsigned order; all but `LAST` are used, and
    // the smallest integer shares it, which costs nothing: it is last anyway.
    !((value as u64) ^ (1 << 63))
}

/// Policy `max:COLUMN` on unsigned integers.
pub fn max_unsigned(value: u64) -> u64 {
    !value
}

/// Policy `max:COLUMN` on floating-point numbers: the larger first, −0 equal to 0, NaN last.
pub fn max_number(value: f64) -> u64 {
    if value.is_nan() {
        return LAST;
    }
    let bits = if value == 0.0 { 0 } else { value.to_bits() };
    // IEEE 754: positive numbers sort as their bits, negative ones the other way round.
    let ascending = if bits >> 63 == 0 { bits | (1 << 63) } else { !bits };
    !ascending
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn held_out_comes_before_any_policy_and_the_ordinal_decides_last() {
        let at = |training, key, ordinal| KeepOrder { training, key, ordinal };
        assert!(at(false, LAST, 9) < at(true, 0, 0));
        assert!(at(true, longest(10), 9) < at(true, longest(9), 0));
        assert!(at(true, first(), 3) < at(true, first(), 4));
    }

    #[test]
    fn null_and_nan_come_last_and_zeros_are_equal() {
        assert_eq!(max_number(f64::NAN), LAST);
        assert_eq!(max_number(-f64::NAN), LAST);
        assert!(max_number(f64::NEG_INFINITY) < LAST);
        assert!(max_integer(i64::MIN + 1) < LAST);
        assert_eq!(max_number(0.0), max_number(-0.0));
    }

    proptest! {
        #[test]
        fn larger_values_come_first(
            left: f64, right: f64, one: i64, two: i64, few: u64, many: u64,
        ) {
            prop_assume!(!left.is_nan() && !right.is_nan());
            let reversed = right.partial_cmp(&left).expect("neither is NaN");
            prop_assert_eq!(max_number(left).cmp(&max_number(right)), reversed);
            prop_assert_eq!(max_integer(one).cmp(&max_integer(two)), two.cmp(&one));
            prop_assert_eq!(max_unsigned(few).cmp(&max_unsigned(many)), many.cmp(&few));
        }
    }
}
