//! How the inputs are cut into units of work.
//!
//! In → how each file may be cut and how much text it has; out → units, each a contiguous run of
//! the input: several whole small files, or a part of one large file. A pure function of (inputs,
//! config): threads, memory and time do not enter it (docs/design.md, section 8.1).

use crate::artifact::{
    record::{Extent, Slice},
    stage::UnitPlan,
};
use crate::source::formats::{BlockSize, Layout, Limit};

/// The most units that the default size makes of inputs that are large enough.
const UNITS_MAX: u64 = 1024;
/// Least text of a unit by default: small enough for a laptop to resume finely.
const UNIT_BYTES_MIN: u64 = 128 << 20;
/// Most text of a unit by default.
const UNIT_BYTES_MAX: u64 = 2 << 30;

/// What the plan needs to know of a file.
#[derive(Clone, Debug)]
pub struct FileExtent<'a> {
    /// `None` for a damaged file, which gets a unit of its own, so that it takes no other along.
    pub layout: Option<&'a Layout>,
    pub limit: Option<Limit>,
}

/// Bytes of text in a unit when no size is asked for: a 1024th of all, 128 MiB … 2 GiB.
pub fn default_unit_bytes(total_text_bytes: u64) -> u64 {
    (total_text_bytes / UNITS_MAX).clamp(UNIT_BYTES_MIN, UNIT_BYTES_MAX)
}

/// Cuts the files, in input order, into units of about `unit_bytes` of text.
pub fn plan(files: &[FileExtent<'_>], unit_bytes: u64) -> Vec<UnitPlan> {
    assert!(unit_bytes > 0, "units of no bytes");
    let mut units = Vec::new();
    let mut open = UnitPlan::default();
    let close = |open: &mut UnitPlan, units: &mut Vec<UnitPlan>| {
        if !open.slices.is_empty() {
            units.push(std::mem::take(open));
        }
    };
    for (file, extent) in files.iter().enumerate() {
        let parts = match extent.layout {
            None => {
                close(&mut open, &mut units);
                units.push(UnitPlan { slices: vec![Slice::whole(file)], bytes: 0 });
                continue;
            }
            Some(layout) => parts(file, layout, extent.limit, unit_bytes),
        };
        let [(_, bytes)] = parts.as_slice() else {
            close(&mut open, &mut units);
            let unit = |(slice, bytes)| UnitPlan { slices: vec![slice], bytes };
            units.extend(parts.into_iter().map(unit));
            continue;
        };
        if open.bytes.saturating_add(*bytes) > unit_bytes {
            close(&mut open, &mut units);
        }
        for (slice, bytes) in parts {
            open.slices.push(slice);
            open.bytes += bytes;
        }
    }
    close(&mut open, &mut units);
    units
}

/// The slices of one file with their text; none when the limit leaves nothing of it.
fn parts(file: usize, layout: &Layout, limit: Option<Limit>, unit_bytes: u64) -> Vec<(Slice, u64)> {
    if limit.is_some_and(|limit| limit.records == 0) {
        return Vec::new();
    }
    match layout {
        Layout::Blocks(blocks) => block_parts(file, blocks, limit, unit_bytes),
        Layout::Bytes(bytes) => {
            let bytes = limit.map_or(*bytes, |limit| limit.end.min(*bytes));
            let count = bytes.div_ceil(unit_bytes).max(1);
            let cut = |i: u64| (u128::from(bytes) * u128::from(i) / u128::from(count)) as u64;
            let part = |i| {
                let (start, end) = (cut(i), cut(i + 1));
                (Slice { file, extent: Extent::Bytes(start..end), records_max: None }, end - start)
            };
            (0..count).map(part).collect()
        }
        Layout::Whole(bytes) => {
            let records_max = limit.map(|limit| limit.records);
            vec![(Slice { file, extent: Extent::Whole, records_max }, *bytes)]
        }
    }
}

fn block_parts(
    file: usize,
    blocks: &[BlockSize],
    limit: Option<Limit>,
    unit_bytes: u64,
) -> Vec<(Slice, u64)> {
    let mut left = limit.map_or(u64::MAX, |limit| limit.records);
    // (blocks, text, records wanted of them) of each part, the last one still open.
    let mut parts = vec![(0..0, 0, 0)];
    let total: u64 = blocks.iter().map(|block| block.text_bytes).sum();
    let target = total.div_ceil(total.div_ceil(unit_bytes).max(1));
    for (index, block) in blocks.iter().enumerate() {
        if left == 0 {
            break;
        }
        let (run, bytes, _) = parts.last().expect("there is always an open part");
        if !run.is_empty() && bytes + block.text_bytes > target.max(1) {
            parts.push((index..index, 0, 0));
        }
        let (run, bytes, records) = parts.last_mut().expect("there is always an open part");
        run.end = index + 1;
        *bytes += block.text_bytes;
        *records += block.records.min(left);
        left -= block.records.min(left);
    }
    let slice = |(run, bytes, records): (std::ops::Range<usize>, u64, u64)| {
        let whole: u64 = blocks[run.clone()].iter().map(|block| block.records).sum();
        let records_max = (records < whole).then_some(records);
        (Slice { file, extent: Extent::RowGroups(run), records_max }, bytes)
    };
    parts.into_iter().map(slice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(layout: &Layout) -> FileExtent<'_> {
        FileExtent { layout: Some(layout), limit: None }
    }

    fn blocks(sizes: &[u64]) -> Layout {
        Layout::Blocks(sizes.iter().map(|b| BlockSize { records: 10, text_bytes: *b }).collect())
    }

    #[test]
    fn small_files_share_a_unit_and_a_large_one_is_cut() {
        let (small, large) = (Layout::Whole(40), blocks(&[50, 50, 50, 50, 10]));
        let units =
            plan(&[file(&small), file(&small), file(&small), file(&large), file(&small)], 100);
        let files: Vec<Vec<usize>> = units.iter().map(|unit| unit.files().collect()).collect();
        assert_eq!(files, [vec![0, 1], vec![2], vec![3], vec![3], vec![3], vec![3], vec![4]]);
    }

    #[test]
    fn a_damaged_file_stands_alone() {
        let small = Layout::Whole(1);
        let damaged = FileExtent { layout: None, limit: None };
        let units = plan(&[file(&small), damaged, file(&small)], 100);
        assert_eq!(units.len(), 3);
    }

    #[test]
    fn a_limit_cuts_inside_a_row_group_and_leaves_later_files_out() {
        let layout = blocks(&[50, 50]);
        let limited =
            |records| FileExtent { layout: Some(&layout), limit: Some(Limit { records, end: 0 }) };
        let units = plan(&[limited(20), limited(13), limited(0)], 1000);
        let whole = Slice { file: 0, extent: Extent::RowGroups(0..2), records_max: None };
        let cut = Slice { file: 1, extent: Extent::RowGroups(0..2), records_max: Some(13) };
        assert_eq!(units[0].slices, [whole, cut]);
    }

    #[test]
    fn the_default_is_a_1024th_within_its_bounds() {
        assert_eq!(default_unit_bytes(0), 128 << 20);
        assert_eq!(default_unit_bytes(1 << 40), 1 << 30);
        assert_eq!(default_unit_bytes(1 << 50), 2 << 30);
    }

    proptest! {
        #[test]
        fn units_tile_the_input_in_order(
            sizes in prop::collection::vec(prop::collection::vec(0u64..200, 0..9), 1..9),
            flat in prop::collection::vec(any::<bool>(), 9),
            unit_bytes in 1u64..300,
        ) {
            let layouts: Vec<Layout> = sizes.iter().zip(&flat).map(|(sizes, flat)| match flat {
                true => Layout::Bytes(sizes.iter().sum()),
                false => blocks(sizes),
            }).collect();
            let files: Vec<FileExtent<'_>> = layouts.iter().map(file).collect();
            let units = plan(&files, unit_bytes);
            let mut found: Vec<(usize, u64, u64)> = Vec::new();
            for slice in units.iter().flat_map(|unit| &unit.slices) {
                let (start, end) = match &slice.extent {
                    Extent::RowGroups(run) => (run.start as u64, run.end as u64),
                    Extent::Bytes(bytes) => (bytes.start, bytes.end),
                    Extent::Whole => unreachable!("no such file here"),
                };
                match found.last_mut().filter(|last| last.0 == slice.file) {
                    Some(last) => {
                        prop_assert_eq!(last.2, start);
                        last.2 = end;
                    }
                    None => found.push((slice.file, start, end)),
                }
            }
            let whole: Vec<(usize, u64, u64)> = layouts.iter().enumerate().map(|(i, l)| match l {
                Layout::Blocks(blocks) => (i, 0, blocks.len() as u64),
                other => (i, 0, other.text_bytes()),
            }).collect();
            prop_assert_eq!(found, whole);
            let total: u64 = layouts.iter().map(Layout::text_bytes).sum();
            prop_assert_eq!(units.iter().map(|unit| unit.bytes).sum::<u64>(), total);
        }
    }
}
