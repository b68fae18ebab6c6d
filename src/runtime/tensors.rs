//! Tensors in a file, in the safetensors format.
//!
//! In → tensors by name; out → a file of them with its hash, and back. The format
//! (huggingface/safetensors, `README.md`) is the length of a JSON header as u64, the header, and
//! the tensors' little-endian elements. **Invariants.** Equal tensors, equal bytes: by rising name,
//! the header padded with spaces to eight bytes. What is read lies inside the file, so a damaged
//! header costs no memory. **Cost.** One tensor's bytes are held at a time.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;

use candle_core::{DType, Device as CandleDevice, Tensor};
use safetensors::{
    Dtype,
    tensor::{Metadata, TensorInfo},
};
use serde::Serialize;

use crate::base::error::{Error, Result};
use crate::base::hash::Hasher;
use crate::base::io;
use crate::runtime::device::Device;
use crate::runtime::hashed::FileHash;

#[derive(Serialize)]
struct Entry {
    dtype: &'static str,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

/// Writes `tensors` to a file of `directory`, flushed to disk.
pub fn write_tensors(
    directory: &Path,
    name: &str,
    tensors: &BTreeMap<String, Tensor>,
) -> Result<FileHash> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_owned(), serde_json::json!({ "format": "pt" }));
    let mut end = 0;
    for (name, tensor) in tensors {
        let start = end;
        end += tensor.elem_count() * tensor.dtype().size_in_bytes();
        let dtype = match tensor.dtype() {
            DType::F32 => "F32",
            DType::I64 => "I64",
            other => panic!("a checkpoint holds f32 and i64 tensors, `{name}` is {other:?}"),
        };
        let entry = Entry { dtype, shape: tensor.dims().to_vec(), data_offsets: [start, end] };
        header.insert(name.clone(), serde_json::json!(entry));
    }
    let mut header = serde_json::Value::Object(header).to_string();
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    let path = directory.join(name);
    let mut file = io::create(&path)?;
    let (mut hasher, mut written) = (Hasher::new(), 0);
    let mut write = |bytes: &[u8]| {
        hasher.update(bytes);
        written += bytes.len() as u64;
        file.write_all(bytes).map_err(Error::io("write", &path))
    };
    write(&(header.len() as u64).to_le_bytes())?;
    write(header.as_bytes())?;
    for tensor in tensors.values() {
        write(&bytes(tensor)?)?;
    }
    file.flush().map_err(Error::io("write", &path))?;
    io::sync(&path)?;
    Ok(FileHash { name: name.to_owned(), bytes: written, xxh3: hasher.finish() })
}

fn bytes(tensor: &Tensor) -> Result<Vec<u8>> {
    let flat = tensor.flatten_all()?;
    Ok(match tensor.dtype() {
        DType::F32 => flat.to_vec1::<f32>()?.iter().flat_map(|x| x.to_le_bytes()).collect(),
        _ => flat.to_vec1::<i64>()?.iter().flat_map(|x| x.to_le_bytes()).collect(),
    })
}

/// Reads what [`write_tensors`] wrote.
pub fn read_tensors(path: &Path, device: &Device) -> Result<BTreeMap<String, Tensor>> {
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
    let mut left = size - 8 - header;
    let mut tensors = BTreeMap::new();
    for name in metadata.offset_keys() {
        let info = metadata.info(&name).expect("the header listed it");
        let (start, end) = info.data_offsets;
        let expected =
            elements(&info.shape).and_then(|count| count.checked_mul(width(info.dtype)?));
        if (start as u64) != size - 8 - header - left || end.checked_sub(start) != expected {
            let shape = &info.shape;
            return Err(damaged(format!("bytes {start} to {end} cannot be `{name}` {shape:?}")));
        }
        let bytes = read((end - start) as u64, left)?;
        left -= bytes.len() as u64;
        tensors.insert(name.clone(), tensor(info, &bytes, device)?);
    }
    if left > 0 {
        return Err(damaged(format!("{left} bytes follow its last tensor")));
    }
    Ok(tensors)
}

/// Elements of a shape.
fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size))
}

/// Bytes of an element; `None`: a type that no checkpoint has.
fn width(dtype: Dtype) -> Option<usize> {
    match dtype {
        Dtype::F32 => Some(4),
        Dtype::I64 => Some(8),
        _ => None,
    }
}

/// Elements from their little-endian bytes.
fn tensor(info: &TensorInfo, bytes: &[u8], device: &Device) -> Result<Tensor> {
    let shape = info.shape.as_slice();
    if info.dtype == Dtype::F32 {
        let numbers = bytes.chunks_exact(4);
        let numbers = numbers.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let numbers: Vec<f32> = numbers.collect();
        return Ok(Tensor::from_vec(numbers, shape, device.candle())?);
    }
    let numbers = bytes.chunks_exact(8);
    let number = |b: &[u8]| [b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]];
    let numbers: Vec<i64> = numbers.map(|b| i64::from_le_bytes(number(b))).collect();
    Ok(Tensor::from_vec(numbers, shape, &CandleDevice::Cpu)?)
}
