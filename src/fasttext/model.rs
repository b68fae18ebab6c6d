//! A supervised fastText model, read from a `.bin` or `.ftz` file.
//!
//! In → the bytes of a model file; out → a [`Model`] that predicts. Format (fastText's
//! `fasttext.cc`, `args.cc`, `dictionary.cc`, `densematrix.cc`, `quantmatrix.cc`,
//! `productquantizer.cc`; little-endian, no padding): magic number, version 12 (or 11, which had no
//! character n-grams in supervised models), twelve 32-bit settings and one double; the numbers of
//! entries, words, labels, tokens and kept n-grams; each entry's bytes, a NUL, its count, its kind;
//! pairs of kept n-grams; then the input and the output matrix, each behind a byte that tells
//! whether it is quantised.
//! Invariants: whatever the bytes, reading ends in a model whose every row and code is in range, or
//! in an error that names the byte; no header makes it ask for more memory than the file has bytes
//! (five times that for lists of words; up to 320 MiB for what is worked out beforehand). Bytes
//! behind the output matrix are left alone, as fastText does.
//! Cost: one pass; a matrix is converted block by block into the one place where it stays.

use std::{io::Read, path::Path};

use super::dictionary::{Dictionary, Kept};
use super::features::Ngrams;
use super::loss::{Loss, Tree, UNBUILT};
use super::matrix::{CENTROIDS, Matrix, Norms, Output, Quantized};
use super::words::{WordTable, hash_word};
use crate::base::error::Error;

/// First number of a model file.
pub const MAGIC: i32 = 793_712_314;

/// The version that is written.
pub const VERSION: i32 = 12;

/// Longest n-gram that is read; fastText has no limit, published models stay below 10.
const LONGEST_NGRAM: i32 = 64;

/// Most columns that are read; published models have 16 to 300.
const MOST_COLUMNS: i32 = 65_536;

/// Most bytes of a quantised input matrix that is written out; `lid.176.ftz` comes to 3.2 MB.
const WRITTEN_OUT: usize = 64 << 20;

/// Why a model could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The file is not what its format promises; `offset` in bytes.
    #[error("{message} (at byte {offset})")]
    Format { offset: u64, message: String },
}

impl ReadError {
    /// The library's error for a model at `path`.
    pub fn at(self, path: &Path) -> Error {
        match self {
            ReadError::Io(source) => Error::io("read", path)(source),
            ReadError::Format { offset, message } => Error::damaged(path, Some(offset), message),
        }
    }
}

/// Settings that a model file carries and that predicting does not need.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// `ws`, `epoch`, `minCount`, `neg`, `lrUpdateRate` and `t` of fastText.
    pub window: i32,
    pub epochs: i32,
    pub least_count: i32,
    pub negatives: i32,
    pub rate_updates: i32,
    pub sampling: f64,
    /// `wordNgrams`, `bucket`, `minn`, `maxn` as they stand in the file.
    pub word_ngrams: i32,
    pub buckets: i32,
    pub shortest: i32,
    pub longest: i32,
    /// `loss`: 1 hierarchical softmax, 2 negative sampling, 3 softmax, 4 one-vs-all.
    pub loss: i32,
}

/// A supervised model.
#[derive(Clone, Debug)]
pub struct Model {
    pub(super) settings: Settings,
    pub(super) dictionary: Dictionary,
    pub(super) input: Matrix,
    /// A small quantised input matrix written out: three times the speed.
    pub(super) written_out_input: Option<Matrix>,
    /// The flag `qout`, which a dense model may carry too.
    pub(super) quantized_output: bool,
    pub(super) output: Matrix,
    pub(super) arranged_output: Output,
    pub(super) loss: Loss,
}

impl Model {
    /// Reads a model from a file of `size` bytes.
    pub fn read(input: &mut dyn Read, size: u64) -> Result<Model, ReadError> {
        let mut source = Source::new(input, size);
        let (settings, columns) = read_settings(&mut source)?;
        let dictionary = read_dictionary(&mut source, &settings)?;
        let quantized = source.flag("the input matrix is quantised")?;
        let start = source.offset();
        let input = read_matrix(&mut source, quantized, columns)?;
        if (input.rows() as u64) < dictionary.row_count() {
            let (rows, needed) = (input.rows(), dictionary.row_count());
            return Err(at(start, format!("{rows} input rows; the dictionary needs {needed}")));
        }
        if !quantized && dictionary.kept().is_some() {
            return Err(at(start, "a pruned dictionary before a matrix that is not quantised"));
        }
        let quantized_output = source.flag("the output matrix is quantised")?;
        let start = source.offset();
        let output = read_matrix(&mut source, quantized && quantized_output, columns)?;
        if output.rows() != dictionary.labels().len() {
            let (rows, labels) = (output.rows(), dictionary.labels().len());
            return Err(at(start, format!("{rows} output rows for {labels} labels")));
        }
        Ok(Model::new(settings, dictionary, input, quantized_output, output))
    }

    /// Puts checked parts together.
    pub(super) fn new(
        settings: Settings,
        dictionary: Dictionary,
        input: Matrix,
        quantized_output: bool,
        output: Matrix,
    ) -> Model {
        let loss = match settings.loss {
            1 => Loss::Hierarchical(Tree::new(dictionary.label_counts())),
            3 => Loss::Softmax,
            _ => Loss::logistic(),
        };
        let arranged_output = Output::new(&output);
        let written_out_input = match &input {
            Matrix::Quantized(matrix) => matrix.written_out(WRITTEN_OUT),
            Matrix::Dense { .. } => None,
        };
        Model {
            settings,
            dictionary,
            input,
            written_out_input,
            quantized_output,
            output,
            arranged_output,
            loss,
        }
    }

    /// The labels with their prefix, such as `__label__en`, in the file's order.
    pub fn labels(&self) -> &[String] {
        self.dictionary.labels()
    }

    /// The number of a label; with or without its prefix.
    pub fn label(&self, name: &str) -> Option<u32> {
        let is_it = |label: &String| label == name || label.strip_prefix("__label__") == Some(name);
        self.labels().iter().position(is_it).map(|index| index as u32)
    }

    /// The dictionary.
    pub fn dictionary(&self) -> &Dictionary {
        &self.dictionary
    }

    /// The settings it was trained with.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// How many numbers a word's vector has.
    pub fn dimensions(&self) -> usize {
        self.input.columns()
    }
}

fn at(offset: u64, message: impl Into<String>) -> ReadError {
    ReadError::Format { offset, message: message.into() }
}

/// A file read from front to back, block by block.
struct Source<'r> {
    input: &'r mut dyn Read,
    size: u64,
    /// Bytes handed out so far.
    taken: u64,
    block: Vec<u8>,
    position: usize,
}

impl<'r> Source<'r> {
    const BLOCK: usize = 1 << 16;

    fn new(input: &'r mut dyn Read, size: u64) -> Source<'r> {
        Source { input, size, taken: 0, block: Vec::new(), position: 0 }
    }

    fn offset(&self) -> u64 {
        self.taken
    }

    /// The next `most` bytes or fewer, at least one.
    fn some(&mut self, most: usize, what: &str) -> Result<&[u8], ReadError> {
        if self.position == self.block.len() {
            self.block.resize(Source::BLOCK, 0);
            let count = self.input.read(&mut self.block)?;
            self.block.truncate(count);
            self.position = 0;
            if count == 0 {
                return Err(at(self.taken, format!("the file ends inside {what}")));
            }
        }
        let end = (self.position + most).min(self.block.len());
        let bytes = &self.block[self.position..end];
        self.taken += bytes.len() as u64;
        self.position = end;
        Ok(bytes)
    }

    fn array<const LENGTH: usize>(&mut self, what: &str) -> Result<[u8; LENGTH], ReadError> {
        let mut array = [0; LENGTH];
        let mut filled = 0;
        while filled < LENGTH {
            let bytes = self.some(LENGTH - filled, what)?;
            array[filled..filled + bytes.len()].copy_from_slice(bytes);
            filled += bytes.len();
        }
        Ok(array)
    }

    fn i32(&mut self, what: &str) -> Result<i32, ReadError> {
        Ok(i32::from_le_bytes(self.array(what)?))
    }

    fn i64(&mut self, what: &str) -> Result<i64, ReadError> {
        Ok(i64::from_le_bytes(self.array(what)?))
    }

    /// A number within `range`.
    fn i32_in(
        &mut self,
        range: std::ops::RangeInclusive<i32>,
        what: &str,
    ) -> Result<i32, ReadError> {
        let (offset, value) = (self.offset(), self.i32(what)?);
        if range.contains(&value) {
            return Ok(value);
        }
        let (low, high) = range.into_inner();
        Err(at(offset, format!("{what} is {value}; expected {low} to {high}")))
    }

    fn flag(&mut self, what: &str) -> Result<bool, ReadError> {
        let offset = self.offset();
        match self.array(what)? {
            [0] => Ok(false),
            [1] => Ok(true),
            [byte] => Err(at(offset, format!("whether {what} is {byte}; expected 0 or 1"))),
        }
    }

    /// Refuses a list of `count` things of `bytes` bytes that the file has no room for.
    fn claim(&self, count: u64, bytes: u64, what: &str) -> Result<usize, ReadError> {
        let left = self.size.saturating_sub(self.taken);
        match count.checked_mul(bytes) {
            Some(needed) if needed <= left => Ok(count as usize),
            _ => Err(at(
                self.taken,
                format!("{count} {what} of {bytes} bytes each, where {left} bytes are left"),
            )),
        }
    }

    fn bytes(&mut self, count: u64, what: &str) -> Result<Vec<u8>, ReadError> {
        let count = self.claim(count, 1, what)?;
        let mut bytes = Vec::with_capacity(count);
        while bytes.len() < count {
            bytes.extend_from_slice(self.some(count - bytes.len(), what)?);
        }
        Ok(bytes)
    }

    /// 32-bit floats, all finite.
    fn floats(&mut self, count: u64, what: &str) -> Result<Vec<f32>, ReadError> {
        let count = self.claim(count, 4, what)?;
        let mut floats: Vec<f32> = Vec::with_capacity(count);
        while floats.len() < count {
            let (start, first) = (self.offset(), floats.len());
            let left = self.block.len() - self.position;
            if left < 4 {
                floats.push(f32::from_le_bytes(self.array(what)?));
            } else {
                let most = left.min((count - floats.len()) * 4) / 4 * 4;
                let (values, _) = self.some(most, what)?.as_chunks();
                floats.extend(values.iter().map(|&value| f32::from_le_bytes(value)));
            }
            if let Some(bad) = floats[first..].iter().position(|value| !value.is_finite()) {
                return Err(at(start + 4 * bad as u64, format!("{what}: a value is not finite")));
            }
        }
        Ok(floats)
    }
}

fn read_settings(source: &mut Source) -> Result<(Settings, usize), ReadError> {
    let magic = source.i32("the magic number")?;
    if magic != MAGIC {
        return Err(at(0, format!("no fastText model: it begins with {magic}, not {MAGIC}")));
    }
    let version = source.i32_in(11..=VERSION, "the format version")?;
    let columns = source.i32_in(1..=MOST_COLUMNS, "dim")? as usize;
    let mut settings = Settings {
        window: source.i32("ws")?,
        epochs: source.i32("epoch")?,
        least_count: source.i32("minCount")?,
        negatives: source.i32("neg")?,
        word_ngrams: source.i32_in(0..=LONGEST_NGRAM, "wordNgrams")?,
        loss: source.i32_in(1..=4, "loss")?,
        buckets: 0,
        shortest: 0,
        longest: 0,
        rate_updates: 0,
        sampling: 0.0,
    };
    let (offset, kind) = (source.offset(), source.i32_in(1..=3, "model")?);
    if kind != 3 {
        return Err(at(offset, "word vectors, not a supervised model: it has no labels"));
    }
    let offset = source.offset();
    settings.buckets = source.i32_in(0..=i32::MAX, "bucket")?;
    settings.shortest = source.i32_in(0..=i32::MAX, "minn")?;
    settings.longest = source.i32_in(0..=LONGEST_NGRAM, "maxn")?;
    if version == 11 {
        settings.longest = 0;
    }
    settings.rate_updates = source.i32("lrUpdateRate")?;
    settings.sampling = f64::from_le_bytes(source.array("t")?);
    if settings.buckets == 0 && (settings.longest > 0 || settings.word_ngrams > 1) {
        return Err(at(offset, "bucket is 0 though the model has n-grams"));
    }
    Ok((settings, columns))
}

impl Settings {
    /// Which n-grams the model has.
    pub(super) fn ngrams(&self) -> Ngrams {
        Ngrams {
            shortest: self.shortest as usize,
            longest: self.longest as usize,
            words: self.word_ngrams.max(1) as usize,
            buckets: self.buckets as u32,
        }
    }
}

fn read_dictionary(source: &mut Source, settings: &Settings) -> Result<Dictionary, ReadError> {
    let start = source.offset();
    let size = source.i32_in(1..=i32::MAX, "the number of entries")?;
    let words = source.i32_in(0..=size, "the number of words")?;
    let labels = source.i32_in(1..=size, "the number of labels")?;
    if i64::from(words) + i64::from(labels) != i64::from(size) {
        return Err(at(start, format!("{size} entries are not {words} words and {labels} labels")));
    }
    let token_count = source.i64("the number of tokens")?;
    let offset = source.offset();
    let kept = source.i64("the number of kept n-grams")?;
    if kept < -1 {
        return Err(at(offset, format!("{kept} kept n-grams")));
    }
    let (entries, labels, counts) = read_entries(source, words as u32, size as u32)?;
    let total = counts[words as usize..].iter().try_fold(0i64, |total, &count| {
        total.checked_add(count).filter(|&total| count >= 0 && total < UNBUILT)
    });
    if total.is_none() {
        return Err(at(start, "the counts of the labels are negative or beyond 10^15"));
    }
    let kept = match kept {
        -1 => None,
        kept => Some(read_kept(source, kept as u64)?),
    };
    let ngrams = settings.ngrams();
    Ok(Dictionary::new(entries, labels, counts, token_count, ngrams, kept))
}

type Entries = (WordTable, Vec<String>, Vec<i64>);

fn read_entries(source: &mut Source, words: u32, size: u32) -> Result<Entries, ReadError> {
    // An entry has at least its NUL, 8 bytes of count and one of kind.
    let size = source.claim(u64::from(size), 10, "dictionary entries")?;
    let mut entries = WordTable::with_capacity(size);
    let (mut labels, mut counts) = (Vec::new(), Vec::with_capacity(size));
    let mut word = Vec::new();
    for id in 0..size as u32 {
        let start = source.offset();
        word.clear();
        loop {
            let [byte] = source.array("a dictionary entry")?;
            if byte == 0 {
                break;
            }
            word.push(byte);
        }
        if entries.insert(&word, hash_word(&word)) != Some(id) {
            return Err(at(start, format!("entry {id} stands twice, or the words exceed 4 GiB")));
        }
        counts.push(source.i64("a dictionary entry's count")?);
        let offset = source.offset();
        let [kind] = source.array("a dictionary entry's kind")?;
        if kind != u8::from(id >= words) {
            return Err(at(offset, format!("entry {id} is of kind {kind}; words come first")));
        }
        if id >= words {
            let label = String::from_utf8(word.clone());
            labels.push(label.map_err(|_| at(start, "a label is not UTF-8"))?);
        }
    }
    Ok((entries, labels, counts))
}

fn read_kept(source: &mut Source, count: u64) -> Result<Kept, ReadError> {
    let count = source.claim(count, 8, "kept n-grams")?;
    let mut pairs = Vec::with_capacity(count);
    for _ in 0..count {
        let bucket = source.i32_in(0..=i32::MAX, "a kept n-gram")? as u32;
        let last = i32::try_from(count - 1).unwrap_or(i32::MAX);
        pairs.push((bucket, source.i32_in(0..=last, "a kept n-gram's place")? as u32));
    }
    Ok(Kept::new(pairs))
}

fn read_matrix(source: &mut Source, quantized: bool, columns: usize) -> Result<Matrix, ReadError> {
    let start = source.offset();
    let with_norms = quantized && source.flag("a matrix has norms")?;
    let (rows, found) = (source.i64("a matrix's size")?, source.i64("a matrix's size")?);
    if rows < 1 || found != columns as i64 {
        return Err(at(
            start,
            format!("a matrix of {rows} by {found}; expected {columns} columns"),
        ));
    }
    let rows = rows as u64;
    if !quantized {
        let count = rows.checked_mul(columns as u64).ok_or_else(|| at(start, "too many rows"))?;
        return Ok(Matrix::Dense { columns, values: source.floats(count, "a matrix")? });
    }
    let offset = source.offset();
    let count = source.i32_in(1..=i32::MAX, "the number of codes")? as u64;
    let codes = source.bytes(count, "a matrix's codes")?;
    let (width, centroids) = read_centroids(source, columns)?;
    if rows.checked_mul(columns.div_ceil(width) as u64) != Some(count) {
        return Err(at(offset, format!("{count} codes for {rows} rows in parts of {width}")));
    }
    let norms = if with_norms {
        let codes = source.bytes(rows, "a matrix's norms")?;
        Some(Norms { codes, centroids: read_centroids(source, 1)?.1 })
    } else {
        None
    };
    Ok(Matrix::Quantized(Quantized { columns, width, codes, centroids, norms }))
}

/// A product quantiser for rows of `columns`: columns of a part, and the centroids.
fn read_centroids(source: &mut Source, columns: usize) -> Result<(usize, Vec<f32>), ReadError> {
    let start = source.offset();
    let found = source.i32("a quantiser's size")?;
    let parts = source.i32("a quantiser's parts")?;
    let width = source.i32_in(1..=MOST_COLUMNS, "the width of a quantiser's part")? as usize;
    let last = source.i32("the width of a quantiser's last part")?;
    let fits = (found, parts) == (columns as i32, columns.div_ceil(width) as i32)
        && last as usize == columns - (columns - 1) / width * width;
    if !fits {
        let layout = format!("{parts} parts of {width}, the last of {last}, of {found} columns");
        return Err(at(start, format!("a quantiser of {layout}; expected {columns} columns")));
    }
    let centroids = source.floats((columns * CENTROIDS) as u64, "a quantiser's centroids")?;
    Ok((width, centroids))
}
