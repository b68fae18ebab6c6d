//! The weights of a checkpoint, tensor by tensor, into safetensors of another type or in shards.
//!
//! In → a checkpoint's file, the shape and its class; out → [`Planned`] tensors, and files of them.
//! Tables are cut to one row for each token (checkpoints of earlier versions pad them with further
//! rows). **Invariants.** What is planned is exactly what the shape has. **Cost.** [`CHUNK`] bytes
//! at a time; a tensor that the class stores transposed is held whole.

use std::{
    collections::BTreeMap,
    io::{Read, Seek, SeekFrom, Write},
    ops::Range,
    path::Path,
};

use serde_json::json;

use crate::base::{
    error::{Error, Result},
    hash::{Fingerprint, Hasher},
    interrupt, io,
};
use crate::runtime::{
    model::{ModelConfig, TABLES, shapes},
    pretrained::Class,
    tensors::{self, ElementType, F16_MAX, TensorPlace},
};

/// Bytes that are read at once; a whole number of elements of any type.
pub const CHUNK: u64 = 4 << 20;

/// A tensor as it will be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// Its name in the class.
    pub name: String,
    /// Its dimensions as written.
    pub shape: Vec<usize>,
    /// Where its source tensors lie, to be stacked by rows; where rows are cut off, each ends
    /// early.
    pub sources: Vec<TensorPlace>,
    /// Whether the stacked tensor is then transposed.
    pub turned: bool,
}

impl Planned {
    /// The number of its elements.
    pub fn numbers(&self) -> u64 {
        self.shape.iter().product::<usize>() as u64
    }

    fn of(name: String, sources: Vec<TensorPlace>, turned: bool) -> Planned {
        let mut shape = sources[0].shape.clone();
        shape[0] = sources.iter().map(|source| source.shape[0]).sum();
        if turned {
            shape.reverse();
        }
        Planned { name, shape, sources, turned }
    }
}

/// The tensors of `model` in the file at `path`, as `class` names them, in ascending order of
/// names.
///
/// # Errors
/// Damaged: a tensor that is missing, of another shape, or none of the model's.
pub fn plan(path: &Path, model: &ModelConfig, class: Class) -> Result<Vec<Planned>> {
    let mut places = places(path, model)?;
    let tensors = class.tensors(places.keys().cloned().collect::<Vec<_>>().into_iter());
    let planned = tensors.into_iter().map(|(name, sources, turned)| {
        let sources = sources.iter().map(|source| {
            places.remove(source).unwrap_or_else(|| panic!("{class:?} reads `{source}` once"))
        });
        Planned::of(name, sources.collect(), turned)
    });
    Ok(planned.collect())
}

/// The same, under our own names.
pub fn plan_ours(path: &Path, model: &ModelConfig) -> Result<Vec<Planned>> {
    let places = places(path, model)?.into_iter();
    Ok(places.map(|(name, place)| Planned::of(name, vec![place], false)).collect())
}

/// Where each tensor of `model` lies.
fn places(path: &Path, model: &ModelConfig) -> Result<BTreeMap<String, TensorPlace>> {
    let damaged = |message: String| Error::damaged_artifact(path, None, message);
    let mut found: BTreeMap<String, TensorPlace> =
        tensors::places(path)?.into_iter().map(|place| (place.name.clone(), place)).collect();
    let mut planned = BTreeMap::new();
    for (name, mut shape) in shapes(model) {
        let missing = || damaged(format!("it has no tensor `{name}`"));
        let mut place = found.remove(&name).ok_or_else(missing)?;
        let padded = place.shape == shape;
        if TABLES.contains(&name.as_str()) {
            shape[0] = model.vocab_size;
        }
        if (place.shape != shape && !padded) || place.element == ElementType::I64 {
            let found = &place.shape;
            return Err(damaged(format!("`{name}` is {found:?}, the run's is {shape:?}")));
        }
        let bytes = shape.iter().product::<usize>() * place.element.width();
        (place.end, place.shape) = (place.start + bytes as u64, shape);
        planned.insert(name, place);
    }
    match found.keys().next() {
        Some(name) => Err(damaged(format!("the model has no tensor `{name}`"))),
        None => Ok(planned),
    }
}

/// The tensors of each file: in order, as many as fit within `limit`, at least one.
pub fn shards(planned: &[Planned], element: ElementType, limit: u64) -> Vec<Range<usize>> {
    let mut shards: Vec<Range<usize>> = Vec::new();
    let mut filled = 0;
    for (at, tensor) in planned.iter().enumerate() {
        let bytes = tensor.numbers() * element.width() as u64;
        match shards.last_mut() {
            Some(last) if filled + bytes <= limit => last.end = at + 1,
            _ => {
                shards.push(at..at + 1);
                filled = 0;
            }
        }
        filled += bytes;
    }
    shards
}

/// `model.safetensors`, or `model-00001-of-00003.safetensors`.
pub fn shard_name(index: usize, count: usize) -> String {
    match count {
        1 => "model.safetensors".to_owned(),
        _ => format!("model-{:05}-of-{count:05}.safetensors", index + 1),
    }
}

/// The bytes of `model.safetensors.index.json`.
pub fn index(planned: &[Planned], element: ElementType, shards: &[Range<usize>]) -> Vec<u8> {
    let map = shards.iter().enumerate().flat_map(|(index, range)| {
        let name = shard_name(index, shards.len());
        planned[range.clone()].iter().map(move |it| (it.name.clone(), json!(name)))
    });
    let numbers: u64 = planned.iter().map(Planned::numbers).sum();
    let index = json!({
        "metadata": { "total_parameters": numbers, "total_size": numbers * element.width() as u64 },
        "weight_map": map.collect::<serde_json::Map<_, _>>(),
    });
    let mut bytes = serde_json::to_vec_pretty(&index).expect("names and numbers are JSON");
    bytes.push(b'\n');
    bytes
}

/// What a copy of weights reports as it proceeds.
pub trait Told {
    /// Bytes `range` of the source were read, with this hash.
    fn read(&self, range: Range<u64>, xxh3: Fingerprint);
    /// So many more bytes of the source have been processed.
    fn advance(&self, bytes: u64);
}

/// Writes the tensors to `out` as one file of safetensors.
pub fn write_shard(
    source: &Path,
    planned: &[Planned],
    element: ElementType,
    out: &Path,
    told: &dyn Told,
) -> Result<()> {
    let entries = planned.iter();
    let entries = entries.map(|it| (it.name.as_str(), element, it.shape.as_slice()));
    let mut file = io::create(out)?;
    let mut write = |bytes: &[u8]| file.write_all(bytes).map_err(Error::io("write", out));
    write(&tensors::header(entries))?;
    for tensor in planned {
        if tensor.turned {
            let turned = turned(source, tensor, told)?;
            check_if_f16(&tensor.name, &turned, element)?;
            write(&tensors::encoded(&turned, element))?;
            continue;
        }
        for place in &tensor.sources {
            if place.element == element {
                each_part(source, place, told, &mut write)?;
                continue;
            }
            each_chunk(source, place, told, &mut |numbers| {
                check_if_f16(&tensor.name, numbers, element)?;
                write(&tensors::encoded(numbers, element))
            })?;
        }
    }
    file.flush().map_err(Error::io("write", out))
}

/// The elements of a tensor after it is transposed.
fn turned(source: &Path, tensor: &Planned, told: &dyn Told) -> Result<Vec<f32>> {
    let mut numbers = Vec::with_capacity(tensor.numbers() as usize);
    for place in &tensor.sources {
        each_chunk(source, place, told, &mut |chunk| {
            numbers.extend_from_slice(chunk);
            Ok(())
        })?;
    }
    let [rows, columns] = tensor.shape[..] else { panic!("a matrix is turned round") };
    Ok((0..rows * columns).map(|at| numbers[at % columns * rows + at / columns]).collect())
}

fn check_if_f16(name: &str, numbers: &[f32], element: ElementType) -> Result<()> {
    if element == ElementType::F16 { check_range(name, numbers) } else { Ok(()) }
}

/// Calls `visit` with the numbers of a tensor, in order and in chunks.
pub fn each_chunk(
    source: &Path,
    place: &TensorPlace,
    told: &dyn Told,
    visit: &mut dyn FnMut(&[f32]) -> Result<()>,
) -> Result<()> {
    let element = place.element;
    each_part(source, place, told, &mut |bytes| visit(&tensors::floats(bytes, element)))
}

/// Calls `visit` with the bytes of a tensor, in order and in chunks.
fn each_part(
    source: &Path,
    place: &TensorPlace,
    told: &dyn Told,
    visit: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut file = io::open(source)?;
    file.seek(SeekFrom::Start(place.start)).map_err(Error::io("read", source))?;
    let mut hasher = Hasher::new();
    let mut at = place.start;
    while at < place.end {
        interrupt::check()?;
        let mut bytes = vec![0; CHUNK.min(place.end - at) as usize];
        file.read_exact(&mut bytes).map_err(Error::io("read", source))?;
        at += bytes.len() as u64;
        hasher.update(&bytes);
        visit(&bytes)?;
        told.advance(bytes.len() as u64);
    }
    told.read(place.start..place.end, hasher.finish());
    Ok(())
}

/// Fails if a number is too large for F16 and would become infinite.
pub fn check_range(name: &str, numbers: &[f32]) -> Result<()> {
    match numbers.iter().find(|number| number.abs() > F16_MAX) {
        None => Ok(()),
        Some(number) => {
            Err(Error::failed(format!("`{name}` holds {number}, and F16 ends at {F16_MAX}"))
                .with_hint("`dtype = \"bf16\"` holds it in as many bytes"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(numbers: &[usize]) -> Vec<Planned> {
        let tensor = |(at, count): (usize, &usize)| {
            let (name, shape) = (format!("t{at}"), vec![*count]);
            let element = ElementType::F32;
            let place = TensorPlace { name: name.clone(), element, shape, start: 0, end: 0 };
            Planned::of(name, vec![place], false)
        };
        numbers.iter().enumerate().map(tensor).collect()
    }

    #[test]
    fn shards_are_filled_in_order_and_hold_one_tensor_at_least() {
        let of = |numbers: &[usize], element, limit| {
            let shards = shards(&planned(numbers), element, limit);
            shards.iter().map(|shard| (shard.start, shard.end)).collect::<Vec<_>>()
        };
        assert_eq!(of(&[10, 10, 10], ElementType::F32, 120), [(0, 3)]);
        assert_eq!(of(&[10, 10, 10], ElementType::F32, 119), [(0, 2), (2, 3)]);
        assert_eq!(of(&[10, 100, 1, 1], ElementType::F32, 40), [(0, 1), (1, 2), (2, 4)]);
        assert_eq!(of(&[10, 10], ElementType::Bf16, 40), [(0, 2)]);
        assert_eq!(
            (shard_name(0, 1), shard_name(1, 3)),
            ("model.safetensors".to_owned(), "model-00002-of-00003.safetensors".to_owned(),)
        );
    }

    #[test]
    fn the_index_names_the_shard_of_every_tensor() {
        let tensors = planned(&[10, 10, 10]);
        let shards = shards(&tensors, ElementType::Bf16, 40);
        let index: serde_json::Value =
            serde_json::from_slice(&index(&tensors, ElementType::Bf16, &shards)).unwrap();
        assert_eq!(index["metadata"]["total_size"], 60);
        assert_eq!(index["weight_map"]["t2"], "model-00002-of-00002.safetensors");
        assert_eq!(index["weight_map"].as_object().unwrap().len(), 3);
    }

    #[test]
    fn a_number_beyond_f16_is_named() {
        assert!(check_range("w", &[F16_MAX, -F16_MAX]).is_ok());
        assert!(check_range("w", &[1.0, -7e4]).unwrap_err().to_string().contains("-70000"));
    }

    struct Silent;

    impl Told for Silent {
        fn read(&self, _: Range<u64>, _: Fingerprint) {}
        fn advance(&self, _: u64) {}
    }

    #[test]
    fn a_gpt2_is_written_in_its_own_names_and_read_back_bit_for_bit() {
        use crate::runtime::{device::Device, model::Model, pretrained};
        let keys = "vocab_size = 61\nd_model = 16\nn_layer = 2\nn_head = 2\nn_kv_head = 0\n\
                    d_ff = 24\n\
                    norm = 'layernorm'\npositions = 'learned'\ncontext = 8\nbias = 'all'\n\
                    activation = 'gelu'";
        let config: ModelConfig = toml::from_str(keys).unwrap();
        let model = Model::new(&config, 5, &Device::cpu()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("run.safetensors"), directory.path());
        tensors::write_tensors(to, "run.safetensors", &model.stored().unwrap()).unwrap();
        let planned = plan(&from, &config, Class::Gpt2).unwrap();
        let fused = planned.iter().find(|it| it.name == "transformer.h.1.attn.c_attn.weight");
        assert_eq!(fused.unwrap().shape, [16, 48]);
        let out = to.join(pretrained::WEIGHTS);
        write_shard(&from, &planned, ElementType::F32, &out, &Silent).unwrap();
        let json = pretrained::config_json(Class::Gpt2, &config, 8, 0, "float32");
        io::write(&to.join(pretrained::CONFIG), &json).unwrap();
        io::write(&to.join("tokenizer.json"), b"{}").unwrap();
        let read = pretrained::open(to, &Device::cpu()).unwrap();
        assert_eq!(read.description.model, config);
        let ends = [&model, &read.model].map(|it| it.parameters().xxh3().unwrap());
        assert_eq!(ends[0], ends[1]);
    }
}
