//! Whether remote inputs still are what was read.
//!
//! In → the records of an artifact's remote inputs; out → what differs. An artifact is compared by
//! the list of files in its manifest. Of a raw file, the folder is listed once, at the commit that
//! was read. Where the place promises a hash, the listing's is held against the record's, and no
//! byte is read; where it promises nothing, the ranges that units have read are fetched and hashed
//! again. What cannot be asked any more is gone, and says why.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::artifact::manifest::Manifest;
use crate::artifact::record::{InputKind, InputRecord, ReadRange, RemoteRecord};
use crate::base::error::{Error, Result};
use crate::store::{self, Access, Address, Identity, Listing, Place, Stored};

/// What was found of one input.
#[derive(Default)]
pub(super) struct Found {
    /// Its hash was compared with the listing's.
    pub by_hash: bool,
    /// Its manifest's list of files was compared.
    pub by_list: bool,
    /// Ranges that were read again, and their bytes.
    pub ranges: u64,
    pub bytes: u64,
    pub differences: Vec<Differs>,
    /// Why it could not be looked at.
    pub gone: Option<String>,
}

/// What differs: in which bytes, expected, found.
pub(super) type Differs = (Option<(u64, u64)>, String, String);

/// The places of remote inputs, each listed once.
#[derive(Default)]
pub(super) struct Elsewhere {
    /// By the address of a folder: its listing, or why it could not be listed.
    listed: BTreeMap<Address, Result<Listed, String>>,
}

type Listed = (Arc<dyn Place>, Listing);

impl Elsewhere {
    /// Checks one input, of which units have read these ranges.
    pub(super) fn check(
        &mut self,
        input: &InputRecord,
        at: &RemoteRecord,
        read: &[&ReadRange],
    ) -> Found {
        let mut found = Found::default();
        let looked = self.file(at).and_then(|file| {
            let looked = compare(&file, input, at, read, &mut found);
            looked.map_err(|error| error.to_string())
        });
        found.gone = looked.err();
        found
    }

    fn file(&mut self, at: &RemoteRecord) -> Result<Stored, String> {
        let address = Address::parse(&at.address).map_err(|error| error.to_string())?;
        let address = address.ok_or_else(|| format!("`{}` is no address", at.address))?;
        // A web server lists nothing.
        let folder = match &address {
            Address::Web(_) => address.clone(),
            other => other.parent(),
        };
        let list = || {
            let place = store::open(&folder, &Access::default())?;
            let listing = place.list()?;
            Ok((place, listing))
        };
        let listed = self.listed.entry(folder.clone());
        let listed = listed.or_insert_with(|| list().map_err(|error: Error| error.to_string()));
        let (place, listing) = listed.as_ref().map_err(Clone::clone)?;
        let entry = listing.entries.iter().find(|entry| entry.name == address.name());
        let entry = entry.ok_or_else(|| format!("`{address}` is not there"))?;
        Ok(Stored::remote(place.clone(), entry.clone(), None, at.address.clone()))
    }
}

fn compare(
    file: &Stored,
    input: &InputRecord,
    at: &RemoteRecord,
    read: &[&ReadRange],
    found: &mut Found,
) -> Result<()> {
    if input.kind != InputKind::File {
        let manifest = String::from_utf8_lossy(&file.read(0..file.size()?)?).into_owned();
        let identity = Manifest::parse(&manifest, file.path())?.files_identity();
        found.by_list = true;
        if identity != input.identity {
            found.differences.push((None, input.identity.to_string(), identity.to_string()));
        }
        return Ok(());
    }
    let bytes = file.size()?;
    if bytes != input.bytes {
        let exact = |bytes| format!("{bytes} bytes");
        found.differences.push((None, exact(input.bytes), exact(bytes)));
        return Ok(());
    }
    if let Some(expected) = &at.hash {
        let promised = file.identity().map_or("no hash".to_owned(), Identity::to_string);
        found.by_hash = true;
        if promised != *expected {
            found.differences.push((None, expected.clone(), promised));
        }
        return Ok(());
    }
    for range in read {
        let (xxh3, bytes) = file.hash_range(range.start, range.end)?;
        found.ranges += 1;
        found.bytes += bytes;
        if xxh3 != range.xxh3 {
            let place = Some((range.start, range.end));
            found.differences.push((place, range.xxh3.to_string(), xxh3.to_string()));
        }
    }
    Ok(())
}
