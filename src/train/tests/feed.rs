//! Rows as the trainer asks for them: any, at any time, in any number.

use proptest::prelude::*;

use super::Bench;
use crate::runtime::data::Feed;
use crate::train::feed::MixFeed;

/// Inputs, targets, segments and positions of one row.
type Row = (Vec<u32>, Vec<u32>, Vec<u32>, Vec<u32>);

fn rows(feed: &mut MixFeed, first: u64, count: usize) -> Vec<Row> {
    let batch = feed.rows(first, count).unwrap();
    let row = |at: usize| {
        let range = at * batch.sequence..(at + 1) * batch.sequence;
        let of = |column: &[u32]| column[range.clone()].to_vec();
        (of(&batch.inputs), of(&batch.targets), of(&batch.segments), of(&batch.positions))
    };
    (0..count).map(row).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_row_is_the_same_whatever_was_read_before_it_and_beside_it(
        sequence in 3usize..120,
        asked in prop::collection::vec((any::<u64>(), 1usize..9), 1..20),
        memory in prop_oneof![Just(0u64), Just(1 << 20)],
    ) {
        let bench = Bench::new();
        let open = || MixFeed::open(&bench.path("mix"), &[], sequence).unwrap();
        let count = open().row_count();
        let all = rows(&mut open(), 0, count as usize);
        let mut feed = open();
        feed.limit(memory);
        for (first, length) in asked {
            let first = first % count;
            let length = length.min((count - first) as usize);
            let expected = &all[first as usize..first as usize + length];
            prop_assert_eq!(rows(&mut feed, first, length), expected);
        }
    }
}
