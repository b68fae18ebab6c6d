//! Writes a model as fastText's own `.bin` (or `.ftz` if it is quantised).
//!
//! In → a [`Model`]; out → bytes that fastText opens, format version 12 (see `model` for the layout
//! and its source). Invariants: reading a file of version 12 and writing it gives the same bytes,
//! and so does writing any model twice. Cost: one pass through a buffer; no copy of a matrix.

use std::io::{Result, Write};

use super::matrix::{Matrix, Quantized};
use super::model::{MAGIC, Model, VERSION};

impl Model {
    /// Writes the model; `output` should be buffered.
    pub fn write(&self, output: &mut dyn Write) -> Result<()> {
        self.write_settings(output)?;
        self.write_dictionary(output)?;
        let quantized = matches!(self.input, Matrix::Quantized(_));
        output.write_all(&[u8::from(quantized)])?;
        write_matrix(&self.input, output)?;
        output.write_all(&[u8::from(self.quantized_output)])?;
        write_matrix(&self.output, output)
    }

    fn write_settings(&self, output: &mut dyn Write) -> Result<()> {
        const SUPERVISED: i32 = 3;
        let settings = &self.settings;
        let numbers = [
            MAGIC,
            VERSION,
            self.dimensions() as i32,
            settings.window,
            settings.epochs,
            settings.least_count,
            settings.negatives,
            settings.word_ngrams,
            settings.loss,
            SUPERVISED,
            settings.buckets,
            settings.shortest,
            settings.longest,
            settings.rate_updates,
        ];
        write_numbers(&numbers, output)?;
        output.write_all(&settings.sampling.to_le_bytes())
    }

    fn write_dictionary(&self, output: &mut dyn Write) -> Result<()> {
        let dictionary = &self.dictionary;
        let words = dictionary.word_count() as i32;
        let labels = dictionary.labels().len() as i32;
        write_numbers(&[words + labels, words, labels], output)?;
        output.write_all(&dictionary.token_count().to_le_bytes())?;
        let kept = dictionary.kept().map_or(-1, |kept| kept.pairs.len() as i64);
        output.write_all(&kept.to_le_bytes())?;
        for (id, (word, count)) in (0..).zip(dictionary.entries()) {
            output.write_all(word)?;
            output.write_all(&[0])?;
            output.write_all(&count.to_le_bytes())?;
            output.write_all(&[u8::from(id >= words)])?;
        }
        for &(bucket, place) in dictionary.kept().iter().flat_map(|kept| &kept.pairs) {
            write_numbers(&[bucket as i32, place as i32], output)?;
        }
        Ok(())
    }
}

fn write_matrix(matrix: &Matrix, output: &mut dyn Write) -> Result<()> {
    let size = [matrix.rows() as i64, matrix.columns() as i64].map(i64::to_le_bytes);
    match matrix {
        Matrix::Dense { values, .. } => {
            output.write_all(size.as_flattened())?;
            write_floats(values, output)
        }
        Matrix::Quantized(matrix) => {
            output.write_all(&[u8::from(matrix.norms.is_some())])?;
            output.write_all(size.as_flattened())?;
            write_quantized(matrix, output)
        }
    }
}

fn write_quantized(matrix: &Quantized, output: &mut dyn Write) -> Result<()> {
    write_numbers(&[matrix.codes.len() as i32], output)?;
    output.write_all(&matrix.codes)?;
    write_centroids(matrix.columns, matrix.width, &matrix.centroids, output)?;
    match &matrix.norms {
        None => Ok(()),
        Some(norms) => {
            output.write_all(&norms.codes)?;
            write_centroids(1, 1, &norms.centroids, output)
        }
    }
}

fn write_centroids(
    columns: usize,
    width: usize,
    centroids: &[f32],
    output: &mut dyn Write,
) -> Result<()> {
    let last = columns - (columns - 1) / width * width;
    let numbers = [columns, columns.div_ceil(width), width, last].map(|number| number as i32);
    write_numbers(&numbers, output)?;
    write_floats(centroids, output)
}

fn write_numbers(numbers: &[i32], output: &mut dyn Write) -> Result<()> {
    numbers.iter().try_for_each(|number| output.write_all(&number.to_le_bytes()))
}

fn write_floats(values: &[f32], output: &mut dyn Write) -> Result<()> {
    let mut block = Vec::with_capacity(4 << 10);
    for values in values.chunks(1 << 10) {
        block.clear();
        block.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        output.write_all(&block)?;
    }
    Ok(())
}
