//! One unit's documents: tasks of its files → batches → `map` on workers → `sink` in input order.
//!
//! The producer draws tasks (see [`formats`](super::formats)) file after file; a worker decodes a
//! task into batches. Any free worker takes a batch: it gives documents without an id the hash of
//! their text, decides which are held out, leaves out those for which the condition does not hold,
//! and calls `map`. Rejects and counts are gathered on the caller's thread, so their order is the
//! input's. Memory: one task each for `2 × threads` in flight, fewer workers when `work.memory` is
//! small.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, StringArray};
use arrow::compute::{filter, filter_record_batch, not};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use crate::artifact::counts::{Counts, SourceCounts};
use crate::artifact::{
    record::{Extent, ReadRange, Slice},
    stage::{UnitPlan, Work},
};
use crate::base::error::{Error, Result, bug};
use crate::base::hash::xxh3_128;
use crate::base::interrupt;
use crate::base::parallel;
use crate::base::progress::Progress;
use crate::source::formats::lines::BLOCK_BYTES;
use crate::source::formats::{Decoded, Layout, Request, TASK_TEXT_BYTES_MAX, Task, Tasks};
use crate::source::held_out::is_held_out;
use crate::source::inputs::{InputFile, Inputs};
use crate::source::predicate::Predicate;
use crate::source::reject::{Listed, Reject, RejectWriter, refuse_too_many};
use crate::source::schema::{LEADING, unknown_column};
use crate::source::verdict::{self, VERDICT};
use crate::source::{Batch, Columns, LEFT_OUT, LeftOut};

/// Memory that a thread takes for its two tasks, as a multiple of one task's text: compressed
/// bytes, decoded columns, the arrays of a batch, and what `map` makes of them. Measured at 1, 2
/// and 4 threads: 5 to 6 by ingest, filter, dedup and tokenize of row groups of 11 MiB.
const MEMORY_PER_TEXT: u64 = 6;

/// How a unit is read.
struct Reading<'a> {
    threads: usize,
    memory: u64,
    /// Damaged files that are left out whole.
    skipped: &'a BTreeSet<usize>,
    progress: &'a Progress,
    /// Whether a condition judges held-out documents, which stay, or leaves them out as well.
    judges: bool,
    /// Is told which bytes were read.
    note: &'a (dyn Fn(ReadRange) + Sync),
}

/// What one batch of a file became.
struct Piece<T> {
    file: usize,
    rejects: Vec<Reject>,
    input_bytes: u64,
    /// (source, counts, mapped) of each batch.
    batches: Vec<(usize, SourceCounts, T)>,
}

impl Inputs {
    /// Reads unit `unit` in input order. Documents that cannot be read go to `rejects.jsonl` in
    /// `work.dir` and into the counts; the byte ranges read of raw files go into the unit's record.
    /// Files in `work.skipped` are left out. `map` runs on worker threads, `sink` on the caller's,
    /// in input order. The counts returned hold what was read of each source: `documents_in`,
    /// `rejected`, `bytes_in` and what the condition dropped; what is written is the caller's to
    /// add.
    pub fn read<T: Send>(
        &self,
        unit: usize,
        columns: Columns<'_>,
        work: &Work<'_>,
        map: impl Fn(Batch) -> Result<T> + Sync,
        sink: impl FnMut(T) -> Result<()>,
    ) -> Result<Counts> {
        let reading = Reading {
            threads: work.threads,
            memory: work.memory,
            skipped: work.skipped,
            progress: work.progress,
            judges: true,
            note: &|range| work.record_read(range),
        };
        let mut rejects = RejectWriter::new(&work.dir);
        let counts = self.read_unit(unit, columns, &reading, &mut rejects, map, sink)?;
        rejects.finish()?;
        Ok(counts)
    }

    /// Reads everything, for a caller that only looks and writes nothing. What cannot be read is
    /// counted, and fails as in a stage when it is too much.
    pub fn survey<T: Send>(
        &self,
        columns: Columns<'_>,
        (threads, memory): (usize, u64),
        progress: &Progress,
        map: impl Fn(Batch) -> Result<T> + Sync,
        mut sink: impl FnMut(T) -> Result<()>,
    ) -> Result<Counts> {
        let skipped = BTreeSet::new();
        let (judges, note) = (false, &|_| ());
        let reading = Reading { threads, memory, skipped: &skipped, progress, judges, note };
        let mut rejects = RejectWriter::silent();
        let mut sum = Counts::default();
        for unit in 0..self.units.len() {
            interrupt::check()?;
            let read = self.read_unit(unit, columns, &reading, &mut rejects, &map, &mut sink);
            sum.add(&read?);
        }
        let first = rejects.finish()?;
        let first = |source: &str, reason: &str| {
            let is_it = |one: &&Listed| one.source == source && one.reason == reason;
            Ok(first.iter().find(is_it).cloned())
        };
        let place = |source: &str, name: &str| {
            let of = |file: &InputFile| file.source.map(|source| self.sources[source].as_str());
            let file = self.files.iter().find(|file| of(file) == Some(source) && file.name == name);
            file.map(|file| file.path().to_owned())
        };
        refuse_too_many(&sum, self.config.max_bad, first, place)?;
        Ok(sum)
    }

    fn read_unit<T: Send>(
        &self,
        unit: usize,
        columns: Columns<'_>,
        work: &Reading<'_>,
        rejects: &mut RejectWriter,
        map: impl Fn(Batch) -> Result<T> + Sync,
        mut sink: impl FnMut(T) -> Result<()>,
    ) -> Result<Counts> {
        let unit = &self.units[unit];
        let view = View { judges: work.judges, ..self.view(columns)? };
        let mut counts = Counts::default();
        for file in unit.files().filter(|file| !work.skipped.contains(file)) {
            if let Some(source) = self.files[file].source {
                counts.source(&self.sources[source]);
            }
        }
        let tasks = UnitTasks { inputs: self, view: &view, unit, work, next: 0, open: None };
        let threads = self.threads(unit, work);
        let decode = |(file, task): (usize, Task)| -> Result<Vec<(usize, Decoded)>> {
            Ok(task()?.into_iter().map(|decoded| (file, decoded)).collect())
        };
        let map = |(file, decoded)| self.piece(file, decoded, &view, &map);
        let gather = |piece: Piece<T>| {
            self.count_rejects(&piece, rejects, &mut counts)?;
            work.progress.advance(piece.input_bytes);
            for (source, read, mapped) in piece.batches {
                counts.source(&self.sources[source]).add(&read);
                sink(mapped)?;
            }
            Ok(())
        };
        parallel::ordered_parts(threads, threads * 2, tasks, decode, map, gather)?;
        Ok(counts)
    }

    /// Workers that the memory allows, for the unit's largest task.
    fn threads(&self, unit: &UnitPlan, work: &Reading<'_>) -> usize {
        let allowed = (work.memory / self.task_memory(unit)).clamp(1, 1 << 16) as usize;
        work.threads.clamp(1, allowed)
    }

    /// Bytes of memory that the unit's largest task takes.
    pub(super) fn task_memory(&self, unit: &UnitPlan) -> u64 {
        let held = unit.slices.iter().map(|slice| self.files[slice.file].probe.held_bytes).max();
        let largest = |slice: &Slice| match &self.files[slice.file].probe.layout {
            Layout::Blocks(blocks) => match &slice.extent {
                Extent::RowGroups(run) => {
                    blocks[run.clone()].iter().map(|block| block.text_bytes).max().unwrap_or(0)
                }
                _ => 0,
            },
            // Two blocks, since what is read ahead to the end of a line counts too.
            Layout::Bytes(bytes) | Layout::Whole(bytes) => (2 * BLOCK_BYTES as u64).min(*bytes),
        };
        let task = unit.slices.iter().map(largest).max().unwrap_or(0);
        let task = task.clamp(1 << 20, TASK_TEXT_BYTES_MAX).max(held.unwrap_or(0));
        task * MEMORY_PER_TEXT
    }

    fn count_rejects<T>(
        &self,
        piece: &Piece<T>,
        output: &mut RejectWriter,
        counts: &mut Counts,
    ) -> Result<()> {
        let file = &self.files[piece.file];
        for reject in &piece.rejects {
            let Some(source) = file.source else {
                // What a corpus holds was read before: it cannot be unreadable.
                let message = format!("row {} is no document: {}", reject.offset, reject.reason);
                return Err(Error::damaged(file.path(), None, message));
            };
            let source = &self.sources[source];
            output.write(&file.name, source, reject)?;
            let counts = counts.source(source);
            counts.documents_in += 1;
            counts.reject(reject.reason.name());
        }
        Ok(())
    }

    /// Maps the batches of decoded documents: one, or one a source.
    fn piece<T>(
        &self,
        file: usize,
        mut decoded: Decoded,
        view: &View,
        map: &(impl Fn(Batch) -> Result<T> + Sync),
    ) -> Result<Piece<T>> {
        let rejects = std::mem::take(&mut decoded.rejects);
        let input_bytes = decoded.input_bytes;
        let mut batches = Vec::new();
        for batch in self.batches(file, decoded, view)? {
            let mut counts = SourceCounts {
                documents_in: batch.len() as u64,
                bytes_in: batch.text_bytes(),
                ..SourceCounts::default()
            };
            let batch = self.select(batch, view, &mut counts)?;
            batches.push((batch.source, counts, map(batch)?));
        }
        Ok(Piece { file, rejects, input_bytes, batches })
    }

    /// Adds the leading columns; a corpus's documents are split where their source changes.
    fn batches(&self, file: usize, decoded: Decoded, view: &View) -> Result<Vec<Batch>> {
        let documents = decoded.texts.len();
        if documents == 0 {
            return Ok(Vec::new());
        }
        let opened = &self.files[file];
        let Decoded { texts, ids, mut columns, rows, .. } = decoded;
        let (sources, held_out, runs) = match opened.source {
            Some(source) => {
                let name = std::iter::repeat_n(&self.sources[source], documents);
                let held_out =
                    texts.iter().map(|text| text.map(|text| is_held_out(text, self.holdout())));
                let held_out: BooleanArray = held_out.collect();
                (
                    Arc::new(StringArray::from_iter_values(name)) as ArrayRef,
                    Arc::new(held_out) as _,
                    vec![(source, 0..documents)],
                )
            }
            None => {
                let (held_out, sources) = (columns.pop(), columns.pop());
                let (Some(held_out), Some(sources)) = (held_out, sources) else {
                    unreachable!("a corpus's file is asked for `source` and `held_out`, last")
                };
                let runs = self.runs(opened, &sources, &held_out)?;
                (sources, held_out, runs)
            }
        };
        let ids = with_hashes(ids, &texts);
        let mut all: Vec<ArrayRef> = vec![Arc::new(ids), Arc::new(texts), sources, held_out];
        all.append(&mut columns);
        let records = RecordBatch::try_new(view.schema.clone(), all)
            .map_err(|error| Error::damaged(opened.path(), None, error))?;
        if let [(source, _)] = runs.as_slice() {
            let left_out = LeftOut::none();
            return Ok(vec![Batch { records, file, source: *source, rows, left_out }]);
        }
        let batch = |(source, run): (usize, Range<usize>)| Batch {
            records: records.slice(run.start, run.len()),
            file,
            source,
            rows: rows[run].to_vec(),
            left_out: LeftOut::none(),
        };
        Ok(runs.into_iter().map(batch).collect())
    }

    /// Leaves out the documents for which the condition does not hold, then the columns that only
    /// the condition reads. Held-out documents stay, with the condition's verdict.
    fn select(&self, mut batch: Batch, view: &View, counts: &mut SourceCounts) -> Result<Batch> {
        let Some(predicate) = &self.predicate else { return Ok(batch) };
        let holds = predicate.select(&batch.records)?;
        let fails = |row: &usize| !(holds.is_valid(*row) && holds.value(*row));
        let is_judged = |row: &usize| view.judges && batch.held_out().value(*row) && fails(row);
        let judged: BTreeMap<usize, &str> =
            (0..batch.len()).filter(is_judged).map(|row| (row, LEFT_OUT)).collect();
        let stays = (0..batch.len()).map(|row| Some(!fails(&row) || judged.contains_key(&row)));
        let mask: BooleanArray = stays.collect();
        let shown: Vec<usize> = (0..view.shown).collect();
        let records = batch.records.project(&shown).map_err(bug)?;
        verdict::count(counts, &records, &judged);
        let records = verdict::judged(&records, &judged)?;
        let out = not(&mask).map_err(bug)?;
        let rows = std::mem::take(&mut batch.rows).into_iter().zip(&mask);
        let (kept, left): (Vec<_>, Vec<_>) = rows.partition(|(_, passes)| *passes == Some(true));
        let ids = filter(batch.ids(), &out).map_err(bug)?.as_string().clone();
        batch.left_out = LeftOut { ids, rows: left.into_iter().map(|(row, _)| row).collect() };
        batch.rows = kept.into_iter().map(|(row, _)| row).collect();
        batch.records = filter_record_batch(&records, &mask).map_err(bug)?;
        if !batch.left_out.rows.is_empty() {
            counts.dropped.insert(LEFT_OUT.to_owned(), batch.left_out.rows.len() as u64);
        }
        Ok(batch)
    }

    /// Runs of one source in a corpus's file.
    fn runs(
        &self,
        file: &InputFile,
        sources: &ArrayRef,
        held_out: &ArrayRef,
    ) -> Result<Vec<(usize, Range<usize>)>> {
        if sources.null_count() + held_out.null_count() > 0 {
            return Err(Error::damaged(file.path(), None, "`source` or `held_out` is null"));
        }
        let mut runs: Vec<(usize, Range<usize>)> = Vec::new();
        let names = sources.as_string::<i32>();
        for row in 0..names.len() {
            let name = names.value(row);
            match runs.last_mut().filter(|(source, _)| self.sources[*source] == name) {
                Some((_, run)) => run.end = row + 1,
                None => {
                    let source = self.sources.iter().position(|known| known == name);
                    let source = source.ok_or_else(|| {
                        let message = format!("its manifest does not know the source `{name}`");
                        Error::damaged(file.path(), None, message)
                    })?;
                    runs.push((source, row..row + 1));
                }
            }
        }
        Ok(runs)
    }

    /// The schema of the batches and what to ask the formats for.
    fn view(&self, columns: Columns<'_>) -> Result<View> {
        let others = self.schema.fields().iter().skip(LEADING.len());
        let wanted = |name: &str| match columns {
            Columns::All => true,
            // Where the condition's verdicts go.
            _ if self.predicate.is_some() && name == VERDICT => true,
            Columns::Text => false,
            Columns::And(names) => names.contains(&name),
        };
        if let Columns::And(names) = columns {
            let known = self.schema.fields().iter().map(|field| field.name().as_str());
            if let Some(name) = names.iter().find(|name| self.schema.index_of(name).is_err()) {
                return Err(unknown_column(name, known));
            }
        }
        let leading = self.schema.fields().iter().take(LEADING.len());
        let others = others.filter(|field| wanted(field.name()));
        let mut fields: Vec<_> = leading.chain(others).cloned().collect();
        let shown = fields.len();
        for name in self.predicate.iter().flat_map(Predicate::columns) {
            if !fields.iter().any(|field| field.name() == name) {
                let field = self.known.field_with_name(name).expect("the predicate was checked");
                fields.push(Arc::new(field.clone()));
            }
        }
        Ok(View { schema: Arc::new(Schema::new(fields)), shown, judges: false })
    }
}

/// The columns of a read.
struct View {
    schema: SchemaRef,
    /// How many columns are handed out; only the condition reads those after them.
    shown: usize,
    /// As [`Reading::judges`].
    judges: bool,
}

impl View {
    /// What `file` is asked for: its own names, and for a corpus its leading columns last.
    fn columns_of(&self, file: &InputFile) -> Vec<(String, DataType)> {
        let others = self.schema.fields().iter().skip(LEADING.len());
        let mut columns: Vec<(String, DataType)> = others
            .map(|field| (file.raw_name(field.name()).to_owned(), field.data_type().clone()))
            .collect();
        if file.source.is_none() {
            columns.push(("source".to_owned(), DataType::Utf8));
            columns.push(("held_out".to_owned(), DataType::Boolean));
        }
        columns
    }
}

/// The ids given; where there is none, 32 hexadecimal digits of the text's XXH3-128.
fn with_hashes(ids: Option<StringArray>, texts: &StringArray) -> StringArray {
    match ids {
        Some(ids) if ids.null_count() == 0 => ids,
        ids => {
            let id = |row: usize| match &ids {
                Some(ids) if ids.is_valid(row) => ids.value(row).to_owned(),
                _ => xxh3_128(texts.value(row).as_bytes()).to_string(),
            };
            StringArray::from_iter_values((0..texts.len()).map(id))
        }
    }
}

/// The tasks of all files of a unit, in order; what was read is recorded as each file ends.
struct UnitTasks<'a, 'w> {
    inputs: &'a Inputs,
    view: &'a View,
    unit: &'a UnitPlan,
    work: &'a Reading<'w>,
    next: usize,
    open: Option<(usize, Box<dyn Tasks>)>,
}

impl<'a> UnitTasks<'a, '_> {
    fn open(&self, slice: &'a Slice) -> Result<Box<dyn Tasks>> {
        let opened = &self.inputs.files[slice.file];
        opened.check()?;
        opened.format.read(&Request {
            name: &opened.name,
            file: &opened.stored.remembering_its_head(),
            bytes: opened.bytes,
            probe: &opened.probe,
            ask: &opened.ask,
            slice,
            columns: &self.view.columns_of(opened),
            document_bytes_max: self.inputs.config.max_document_bytes.0,
        })
    }

    /// Notes which bytes of a raw file were read; a corpus is known by its manifest's hashes.
    fn record(&self, file: usize, tasks: &mut dyn Tasks) {
        let opened = &self.inputs.files[file];
        if opened.source.is_none() {
            return;
        }
        for (range, xxh3) in tasks.ranges() {
            (self.work.note)(ReadRange {
                input: opened.record,
                file: opened.name.clone(),
                start: range.start,
                end: range.end,
                xxh3,
            });
        }
    }
}

impl Iterator for UnitTasks<'_, '_> {
    type Item = Result<(usize, Task)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((file, mut tasks)) = self.open.take() {
                if let Some(task) = tasks.next() {
                    self.open = Some((file, tasks));
                    return Some(task.map(|task| (file, task)));
                }
                self.record(file, tasks.as_mut());
            }
            let slice = self.unit.slices.get(self.next)?;
            self.next += 1;
            if self.work.skipped.contains(&slice.file) {
                continue;
            }
            match self.open(slice) {
                Ok(tasks) => self.open = Some((slice.file, tasks)),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
