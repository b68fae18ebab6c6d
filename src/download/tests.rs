//! Names and units of downloads.

use super::*;
use crate::store::{Access, Entry};

fn source(address: &str, files: &[(&str, u64)]) -> Source {
    Source::of_files(address, files)
}

#[test]
fn small_files_share_a_unit_and_large_ones_have_their_own() {
    let mib = 1 << 20;
    let one = source("hf://datasets/o/n", &[("a", mib), ("b", mib), ("c", 40 * mib), ("d", mib)]);
    let two = source("hf://datasets/o/m", &[("e", 0)]);
    let expected = [vec![(0, 0), (0, 1)], vec![(0, 2)], vec![(0, 3)], vec![(1, 0)]];
    assert_eq!(units(&[one, two]), expected);
}

#[test]
fn names_that_collide_are_refused_with_what_to_do() {
    let refused = |one: &[(&str, u64)], two: &[(&str, u64)]| {
        let sources = [source("hf://datasets/o/n", one), source("hf://datasets/o/m", two)];
        let error = refuse_twice(&sources).unwrap_err();
        assert!(error.hint().is_some_and(|hint| hint.contains("NAME=") || hint.contains("Xet")));
        error.to_string()
    };
    assert!(refused(&[("a", 1)], &[("a", 1)]).contains("two files would be called `a`"));
    assert!(refused(&[("a", 1)], &[("a/b", 1)]).contains("a file and the folder of `a/b`"));
    assert!(refused(&[("manifest.json", 1)], &[]).contains("of its own"));
    assert!(refused(&[("a", HTTP_MAX + 1)], &[]).contains("has "));
    let fine = [source("hf://datasets/o/n", &[("x/manifest.json", 1), ("b", HTTP_MAX)])];
    assert!(refuse_twice(&fine).is_ok());
}

impl Source {
    fn of_files(address: &str, files: &[(&str, u64)]) -> Source {
        let root = Address::parse(address).unwrap().unwrap();
        let place = crate::store::open(&root, &Access::default()).unwrap();
        let wanted = |(name, bytes): &(&str, u64)| {
            let entry = Entry { name: (*name).to_owned(), bytes: *bytes, identity: None };
            Wanted { entry, name: (*name).to_owned() }
        };
        Source::made(root, place, files.iter().map(wanted).collect())
    }
}
