//! Tensors in a file, in the safetensors format.
//!
//! In → tensors by name; out → a file of them with its hash, and back; or the place of each tensor
//! in a file. The format (huggingface/safetensors, `README.md`) is the length of a JSON header as
//! u64, the header, and the tensors' little-endian elements. **Invariants.** Equal tensors, equal
//! bytes: by rising name, the header padded with spaces to eight bytes. Sizes are checked against
//! the file before anything is read, so a damaged header costs no memory. **Cost.** One tensor's
//! bytes are held at a time.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use candle_core::{DType, Device as CandleDevice, Tensor};
use half::{bf16, f16};
use safetensors::{Dtype, tensor::Metadata};
use serde_json::json;

use crate::base::error::{Error, Result};
use crate::base::hash::Hasher;
use crate::base::io;
use crate::runtime::device::Device;
use crate::runtime::hashed::FileHash;

/// The header of a file of these tensors; their bytes follow it in the same order.
pub fn header<'a>(
    tensors: impl IntoIterator<Item = (&'a str, ElementType, &'a [usize])>,
) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
    let mut end = 0;
    for (name, element, shape) in tensors {
        let start = end;
        end += shape.iter().product::<usize>() * element.width();
        let entry =
            json!({ "dtype": element.name(), "shape": shape, "data_offsets": [start, end] });
        header.insert(name.to_owned(), entry);
    }
    let mut header = serde_json::Value::Object(header).to_string();
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat()
}

/// Writes `tensors` to a file of `directory`, flushed to disk.
pub fn write_tensors(
    directory: &Path,
    name: &str,
    tensors: &BTreeMap<String, Tensor>,
) -> Result<FileHash> {
    let path = directory.join(name);
    let mut file = io::create(&path)?;
    let hash = each_part(name, tensors, &mut |bytes| {
        file.write_all(bytes).map_err(Error::io("write", &path))
    })?;
    file.flush().map_err(Error::io("write", &path))?;
    io::sync(&path)?;
    Ok(hash)
}

/// The hash of the file that [`write_tensors`] would write.
pub fn hash_tensors(name: &str, tensors: &BTreeMap<String, Tensor>) -> Result<FileHash> {
    each_part(name, tensors, &mut |_| Ok(()))
}

/// Passes the bytes of a file of `tensors` to `write`, part by part.
fn each_part(
    name: &str,
    tensors: &BTreeMap<String, Tensor>,
    write: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<FileHash> {
    let header = header(tensors.iter().map(|(name, tensor)| {
        let element = match tensor.dtype() {
            DType::F32 => ElementType::F32,
            DType::I64 => ElementType::I64,
            other => panic!("a checkpoint holds f32 and i64 tensors, `{name}` is {other:?}"),
        };
        (name.as_str(), element, tensor.dims())
    }));
    let (mut hasher, mut written) = (Hasher::new(), 0);
    let mut part = |bytes: &[u8]| {
        hasher.update(bytes);
        written += bytes.len() as u64;
        write(bytes)
    };
    part(&header)?;
    for tensor in tensors.values() {
        part(&bytes(tensor)?)?;
    }
    Ok(FileHash { name: name.to_owned(), bytes: written, xxh3: hasher.finish() })
}

fn bytes(tensor: &Tensor) -> Result<Vec<u8>> {
    let flat = tensor.flatten_all()?;
    Ok(match tensor.dtype() {
        DType::F32 => flat.to_vec1::<f32>()?.iter().flat_map(|x| x.to_le_bytes()).collect(),
        _ => flat.to_vec1::<i64>()?.iter().flat_map(|x| x.to_le_bytes()).collect(),
    })
}

/// A type of elements that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementType {
    F32,
    F16,
    Bf16,
    I64,
}

impl ElementType {
    /// Bytes of an element.
    pub fn width(self) -> usize {
        match self {
            ElementType::F16 | ElementType::Bf16 => 2,
            ElementType::F32 => 4,
            ElementType::I64 => 8,
        }
    }

    /// Its name in the format.
    fn name(self) -> &'static str {
        match self {
            ElementType::F32 => "F32",
            ElementType::F16 => "F16",
            ElementType::Bf16 => "BF16",
            ElementType::I64 => "I64",
        }
    }

    /// The element type of a `dtype`; `None` for types that no model here uses.
    fn of(dtype: Dtype) -> Option<ElementType> {
        match dtype {
            Dtype::F32 => Some(ElementType::F32),
            Dtype::F16 => Some(ElementType::F16),
            Dtype::BF16 => Some(ElementType::Bf16),
            Dtype::I64 => Some(ElementType::I64),
            _ => None,
        }
    }
}

/// A tensor's place in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorPlace {
    pub name: String,
    pub element: ElementType,
    pub shape: Vec<usize>,
    /// Bytes of the file: the first, and one past the last.
    pub start: u64,
    pub end: u64,
}

/// The tensors of a file, in the order of their bytes. Reads only the header.
///
/// # Errors
/// Damaged: the header is impossible; the message says where. Config: a type of elements that no
/// model here uses.
pub fn places(path: &Path) -> Result<Vec<TensorPlace>> {
    let damaged = |message: String| Error::damaged_artifact(path, None, message);
    let size = io::size(path)?;
    let mut file = io::open(path)?;
    let mut read = |count: u64, left: u64| {
        if count > left {
            return Err(damaged(format!("expected {count} more bytes, found {left}")));
        }
        let mut bytes = vec![0; count as usize];
        file.read_exact(&mut bytes).map_err(Error::io("read", path))?;
        Ok(bytes)
    };
    let head = read(8, size)?;
    let header = u64::from_le_bytes(head[..].try_into().expect("eight bytes were read"));
    let metadata: Metadata = serde_json::from_slice(&read(header, size - 8)?)
        .map_err(|error| damaged(error.to_string()))?;
    let first = 8 + header;
    let mut at = first;
    let mut places = Vec::new();
    for name in metadata.offset_keys() {
        let info = metadata.info(&name).expect("the header listed it");
        let element = ElementType::of(info.dtype).ok_or_else(|| {
            let (place, dtype) = (path.display(), info.dtype);
            Error::config(format!("`{name}` in `{place}` has elements of type {dtype:?}"))
                .with_hint("weights are read as F32, F16 or BF16: save the model as one of them")
        })?;
        let (start, end) = info.data_offsets;
        let expected = elements(&info.shape).and_then(|count| count.checked_mul(element.width()));
        if start as u64 != at - first || expected.is_none() || end.checked_sub(start) != expected {
            let shape = &info.shape;
            return Err(damaged(format!("bytes {start} to {end} cannot be `{name}` {shape:?}")));
        }
        let end = first + end as u64;
        if end > size {
            return Err(damaged(format!("expected {} more bytes, found {}", end - at, size - at)));
        }
        places.push(TensorPlace { name, element, shape: info.shape.clone(), start: at, end });
        at = end;
    }
    if at < size {
        return Err(damaged(format!("{} bytes follow its last tensor", size - at)));
    }
    Ok(places)
}

/// Reads the tensors of a file; F16 and BF16 become f32, exactly.
pub fn read_tensors(path: &Path, device: &Device) -> Result<BTreeMap<String, Tensor>> {
    let places = places(path)?;
    let mut file = io::open(path)?;
    file.seek(SeekFrom::Start(places.first().map_or(0, |place| place.start)))
        .map_err(Error::io("read", path))?;
    let mut tensors = BTreeMap::new();
    for place in places {
        let mut bytes = vec![0; (place.end - place.start) as usize];
        file.read_exact(&mut bytes).map_err(Error::io("read", path))?;
        let shape = place.shape.as_slice();
        let tensor = match place.element {
            ElementType::I64 => Tensor::from_vec(integers(&bytes), shape, &CandleDevice::Cpu)?,
            element => Tensor::from_vec(floats(&bytes, element), shape, device.candle())?,
        };
        tensors.insert(place.name, tensor);
    }
    Ok(tensors)
}

/// The number of elements of a shape; `None` if it overflows.
fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size))
}

/// Numbers from their little-endian bytes.
///
/// # Panics
/// For integers.
pub fn floats(bytes: &[u8], element: ElementType) -> Vec<f32> {
    let halves = || bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    match element {
        ElementType::F32 => {
            let numbers = bytes.chunks_exact(4);
            numbers.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
        }
        ElementType::F16 => halves().map(|bits| f16::from_bits(bits).to_f32()).collect(),
        ElementType::Bf16 => halves().map(|bits| bf16::from_bits(bits).to_f32()).collect(),
        ElementType::I64 => panic!("integers are no weights"),
    }
}

/// Numbers as little-endian bytes, to the nearest of the type and ties to even.
///
/// # Panics
/// For integers.
pub fn encoded(numbers: &[f32], element: ElementType) -> Vec<u8> {
    match element {
        ElementType::F32 => numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
        ElementType::F16 => numbers.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(),
        ElementType::Bf16 => {
            numbers.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect()
        }
        ElementType::I64 => panic!("integers are no weights"),
    }
}

/// The largest finite number of F16.
pub const F16_MAX: f32 = 65504.0;

fn integers(bytes: &[u8]) -> Vec<i64> {
    let number = |b: &[u8]| [b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]];
    bytes.chunks_exact(8).map(|b| i64::from_le_bytes(number(b))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of one tensor `w` of two elements, as other tools write it.
    fn file(dtype: &str, bytes: &[u8]) -> Vec<u8> {
        let header = json!({
            "w": { "dtype": dtype, "shape": [2], "data_offsets": [0, bytes.len()] },
        });
        let header = header.to_string();
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), bytes].concat()
    }

    fn read(bytes: &[u8]) -> Result<Vec<f32>> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.safetensors");
        io::write(&path, bytes).unwrap();
        let tensors = read_tensors(&path, &Device::cpu())?;
        Ok(tensors["w"].to_vec1().unwrap())
    }

    #[test]
    fn halves_of_both_kinds_become_the_same_numbers() {
        // 1.5 and -2^-24 (the smallest half), then 1.5 and -2^100.
        assert_eq!(read(&file("F16", &[0, 0x3e, 1, 0x80])).unwrap(), [1.5, -(2f32.powi(-24))]);
        assert_eq!(
            read(&file("BF16", &[0xc0, 0x3f, 0x80, 0xf1])).unwrap(),
            [1.5, -(2f32.powi(100))]
        );
        let exact = [0.1f32.to_le_bytes(), f32::MIN_POSITIVE.to_le_bytes()].concat();
        assert_eq!(read(&file("F32", &exact)).unwrap(), [0.1, f32::MIN_POSITIVE]);
    }

    #[test]
    fn other_types_are_named_and_cut_files_are_damaged() {
        let error = read(&file("I8", &[1, 2])).unwrap_err();
        assert!(error.to_string().contains("`w`") && error.to_string().contains("I8"), "{error}");
        let whole = file("F16", &[0, 0x3e, 1, 0x80]);
        for length in 0..whole.len() {
            let error = read(&whole[..length]).unwrap_err();
            assert!(matches!(error, Error::Damaged { .. }), "{length}: {error}");
        }
        let error = read(&[&whole[..], &[0]].concat()).unwrap_err();
        assert!(error.to_string().contains("1 bytes follow"), "{error}");
    }
}
