//! A place in memory, for tests: it counts, and fails when it is told to.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::{Address, Entry, Identity, Listing, Meter, Place, Stored};
use crate::base::error::{Error, Result};

/// Files under one address.
#[derive(Debug)]
pub struct Shelf {
    address: Address,
    files: BTreeMap<String, Bytes>,
    meter: Meter,
    /// Every range that was asked for.
    pub asked: Mutex<Vec<Range<u64>>>,
}

impl Shelf {
    pub fn new(address: &str, files: &[(&str, &[u8])]) -> Arc<Shelf> {
        let file =
            |(name, bytes): &(&str, &[u8])| (name.to_string(), Bytes::copy_from_slice(bytes));
        Arc::new(Shelf {
            address: Address::parse(address).unwrap().unwrap(),
            files: files.iter().map(file).collect(),
            meter: Meter::default(),
            asked: Mutex::default(),
        })
    }

    /// One of its files.
    pub fn file(self: &Arc<Shelf>, name: &str) -> Stored {
        let entry = self.list().unwrap().entries.into_iter().find(|entry| entry.name == name);
        let address = self.address.join(name).to_string();
        Stored::remote(self.clone(), entry.unwrap(), None, address)
    }

    fn bytes(&self, entry: &Entry, range: Range<u64>) -> Result<Bytes> {
        self.meter.request();
        self.asked.lock().unwrap().push(range.clone());
        let bytes = &self.files[&entry.name];
        if range.end > bytes.len() as u64 || range.start > range.end {
            return Err(Error::failed(format!("asked for {range:?} of {}", bytes.len())));
        }
        self.meter.received(range.end - range.start);
        Ok(bytes.slice(range.start as usize..range.end as usize))
    }
}

impl Place for Shelf {
    fn address(&self) -> &Address {
        &self.address
    }

    fn list(&self) -> Result<Listing> {
        let entry = |(name, bytes): (&String, &Bytes)| Entry {
            name: name.clone(),
            bytes: bytes.len() as u64,
            identity: Some(Identity::Tag(format!("{name}-1"))),
        };
        let entries = self.files.iter().map(entry).collect();
        Ok(Listing { entries, is_file: false, revision: None })
    }

    fn read(&self, entry: &Entry, range: Range<u64>) -> Result<Bytes> {
        self.bytes(entry, range)
    }

    fn stream(&self, entry: &Entry, range: Range<u64>) -> Result<Box<dyn Read + Send>> {
        Ok(Box::new(std::io::Cursor::new(self.bytes(entry, range)?)))
    }

    fn meter(&self) -> &Meter {
        &self.meter
    }
}

#[test]
fn ranges_come_in_order_and_what_is_kept_or_read_is_asked_for_once() {
    let text: Vec<u8> = (0..200_000u32).map(|at| at as u8).collect();
    let shelf = Shelf::new("s3://b/x", &[("f", &text)]);
    let file = shelf.file("f");
    let ranges: Vec<Range<u64>> = (0..20).map(|at| at * 9000..at * 9000 + 7000).collect();
    let mut ahead = super::ahead::Ahead::new(file.clone(), ranges.clone());
    for range in &ranges {
        let (found, bytes) = ahead.take().unwrap();
        assert_eq!(found, *range);
        assert_eq!(bytes, &text[range.start as usize..range.end as usize]);
    }
    assert_eq!(shelf.meter().requests(), 20);
    // The beginning once, however often it is looked at, then what is expected, then what follows.
    let looked_at = file.remembering_its_head();
    assert_eq!(looked_at.head(512).unwrap(), text[..512]);
    let mut all = Vec::new();
    looked_at.open(0..100_000).unwrap().read_to_end(&mut all).unwrap();
    assert!(all == text);
    let asked = shelf.asked.lock().unwrap().split_off(20);
    assert_eq!(asked, [0..65_536, 65_536..100_000, 100_000..200_000]);
}

#[test]
fn nothing_more_is_asked_for_behind_an_error() {
    let shelf = Shelf::new("s3://b/x", &[("f", &[7; 100])]);
    let (wrong, right) = (90..101, 0..10);
    let mut ahead = super::ahead::Ahead::new(shelf.file("f"), vec![wrong, right]);
    assert!(ahead.take().unwrap_err().to_string().contains("fewer"));
}
