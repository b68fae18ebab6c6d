//! Rows as the trainer asks for them: any, at any time, in any number.

use proptest::prelude::*;

use super::Bench;
use crate::base::io;
use crate::runtime::data::Feed;
use crate::shards::{
    MixReader, MixRecord, ShardReader,
    mix_record::MIX_FILE,
    rows::{ROWS_FILE, RowsWriter},
};
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
        feed.limit(memory).unwrap();
        for (first, length) in asked {
            let first = first % count;
            let length = length.min((count - first) as usize);
            let expected = &all[first as usize..first as usize + length];
            prop_assert_eq!(rows(&mut feed, first, length), expected);
        }
    }
}

#[test]
fn damage_stops_only_who_reads_the_damaged_row() {
    let bench = Bench::new();
    let shard = bench.path("shards").join("shard-00000.arrow");
    let block = ShardReader::open(&shard).unwrap().blocks()[1].clone();
    assert_eq!(block.facts.source, "b");
    let mut bytes = io::read(&shard).unwrap();
    bytes[(block.offset + block.bytes / 2) as usize] ^= 1;
    io::write(&shard, &bytes).unwrap();
    // The first document, of `a`, has eleven tokens; rows 3 to 6 are read at once.
    let mut feed = MixFeed::open(&bench.path("mix"), &[], 2).unwrap();
    assert_eq!(feed.rows(0, 4).unwrap().rows, 4);
    assert!(feed.rows(4, 2).unwrap_err().to_string().contains("checksum"));
    assert_eq!(feed.rows(1, 3).unwrap().rows, 3);
}

#[test]
fn a_mix_that_is_written_out_gives_bitwise_the_same_batches() {
    let bench = Bench::new();
    let mix = bench.path("mix");
    let open = || MixFeed::open(&mix, &[], 48).unwrap();
    let count = open().row_count() as usize;
    let before = open().rows(0, count).unwrap();
    let of_text = open().tokens_of_text(1300).unwrap();
    let mut reader = MixReader::open(&mix, &[], 0).unwrap();
    let record = MixRecord { materialized: true, ..reader.record().clone() };
    let mut rows = RowsWriter::create(&mix.join(ROWS_FILE), record.token_width).unwrap();
    let (mut tokens, mut starts) = (Vec::new(), Vec::new());
    reader.read(0, record.tokens as usize, &mut tokens, &mut starts).unwrap();
    rows.push(&tokens).unwrap();
    rows.finish().unwrap();
    io::write(&mix.join(MIX_FILE), record.to_json().as_bytes()).unwrap();
    // The shards alone know how long the texts are.
    assert_eq!(open().tokens_of_text(1300).unwrap(), of_text);
    io::remove_directory(&bench.path("shards")).unwrap();
    let error = open().tokens_of_text(1300).unwrap_err();
    assert!(error.exit_status() == 2 && error.hint().unwrap().contains("--data"), "{error}");
    assert_eq!(open().rows(0, count).unwrap(), before);
    let (mut feed, part) = (open(), before.slice(7, 5));
    assert_eq!(feed.rows(7, 5).unwrap(), part);
    assert_eq!(feed.rows(7, 5).unwrap(), part);
}
