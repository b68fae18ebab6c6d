//! Makes a mix: one unit that reads every block once and writes the order.
//!
//! In → a [`MixPlan`]; out → `order.arrow`, `validation.arrow`, `mix.json`, `tokenizer/`. Phases:
//! scan all blocks for ids and lengths (in parallel, checked by XXH3, no token decompressed), lay
//! the order, then decode the blocks of the chosen held-out documents.
//! Invariants: achieved tokens equal the budgets; documents in = out + dropped. Memory:
//! [`memory_bytes`], refused when above what is allowed: 12 bytes a document and its share of what
//! is known of blocks, 13.2 in all at 100 million documents, so the 1.4 billion of a trillion
//! tokens of web text take 18.5 GB. Cost: reading the shards once, and 170 to 380 ns a document of
//! the order, 1 µs when it is packed.

use std::collections::BTreeMap;

use arrow::{array::StringArray, buffer::BooleanBuffer};

use super::{
    config::MixConfig,
    order::{BlockRows, HELD_OUT, Measure, OrderConfig, Placed, SourceBlocks, interleave},
    own::OwnTexts,
    packing::Packer,
    plan::{BlockPlace, FilePlace, MixPlan},
    validation::{Candidate, choose, place_of},
    weights::{decimal, fraction},
};
use crate::{
    artifact::{counts::Counts, record::FileCounts, stage::Work},
    base::{error::Result, hash::Fingerprint, io, parallel, rng::hash},
    shards::{
        HeldOut, MixReader, MixRecord, MixSource, ShardFile, ValidationDocument, ValidationSource,
        block::{BLOCK_TOKENS, RawBlock},
        cell::{CELLS, draw},
        mix_record::{MIX_FILE, MIX_FORMAT, MixPacking, MixPhase, ValidatedSource},
        order::{ORDER_FILE, OrderWriter},
        rows::{ROWS_FILE, RowsWriter},
        set::TOKENIZER_DIRECTORY,
        validation::{VALIDATION_FILE, fingerprint as validation_fingerprint, write_validation},
    },
};

/// A row of `order.arrow`: shard, row, source, first token.
pub const ORDER_BYTES: u64 = 4 + 4 + 2 + 8;
/// Draw and length of a document.
const DOCUMENT_BYTES: u64 = 8 + 4;
/// Its bytes of text, where budgets count them.
const TEXT_BYTES: u64 = 8;
/// What choosing holds for a held-out document.
const CANDIDATE_BYTES: u64 = std::mem::size_of::<Candidate>() as u64;
/// Bytes a document of an open cell takes: its draw, place and row, before and after the shuffle.
const CELL_DOCUMENT_BYTES: u64 = 16 + 24;
/// Bytes a block takes beside its documents: itself, and its place in each of its cells.
const BLOCK_BYTES: u64 = 256;

/// Bytes of memory the unit needs: draws and lengths of all documents, candidates for validation,
/// the open cells, the chosen validation texts; `own`: what texts of one's own hold instead.
pub fn memory_bytes(plan: &MixPlan, config: &MixConfig, own: Option<u64>) -> u64 {
    let document_bytes = match plan.measure {
        Measure::Tokens => DOCUMENT_BYTES,
        Measure::Bytes => DOCUMENT_BYTES + TEXT_BYTES,
    };
    let source_bytes = plan.sources.iter().map(|source| {
        // Twice an even share: ids that repeat fall into one cell.
        let cell_documents = source.available_documents().div_ceil(CELLS as u64 / 2);
        let candidates = if own.is_none() { source.held_out_documents } else { 0 };
        // A byte may be a token.
        let validation_tokens = config.eval_tokens.0.saturating_mul(4).min(candidates << 16);
        source.documents * document_bytes
            + source.blocks.len() as u64 * BLOCK_BYTES
            + candidates * CANDIDATE_BYTES
            + cell_documents * CELL_DOCUMENT_BYTES
            + validation_tokens * 4
    });
    source_bytes.sum::<u64>() + own.unwrap_or(0)
}

/// Counts the texts of one's own that are trained on as well.
pub const ALSO_TRAINED: &str = "validation_also_trained";

/// Writes the mix into `work.dir`; `own` are texts that validate instead of the held-out ones.
pub fn run(
    plan: &MixPlan,
    config: &MixConfig,
    own: Option<&OwnTexts>,
    work: &Work<'_>,
) -> Result<Counts> {
    let held = own.map(OwnTexts::held_bytes);
    work.require_memory(memory_bytes(plan, config, held), "the order of this mix")?;
    let (sources, candidates) = scan(plan, own.is_none(), work)?;
    let laid = write_order(plan, config, &sources, work)?;
    let validation = match own {
        Some(own) => own.chosen(work)?,
        None => held_out(plan, config, candidates, work)?,
    };
    write_texts(plan, &validation, work)?;
    let trained = if own.is_some() { also_trained(&sources, &validation) } else { 0 };
    drop(sources);
    let record = record(plan, &laid, &validation, own.is_some())?;
    let record = MixRecord { materialized: config.materialize, ..record };
    if config.materialize {
        write_rows(plan, &record, work)?;
    }
    io::write(&work.path(MIX_FILE), record.to_json().as_bytes())?;
    copy_tokenizer(plan, work)?;
    let mut counts = counts(plan, &record);
    if trained > 0 {
        counts.add_extra(ALSO_TRAINED, trained);
    }
    Ok(counts)
}

/// How many of the texts that validate stand among the documents that may be trained on: by id and
/// number of tokens. An id is the hash of a text that has none of its own.
fn also_trained(sources: &[SourceBlocks], texts: &[ValidationSource]) -> u64 {
    let documents = texts.iter().flat_map(|source| &source.documents);
    let mut left: BTreeMap<(u64, usize), u64> = BTreeMap::new();
    for one in documents {
        *left.entry((draw(&one.id), one.tokens.len())).or_default() += 1;
    }
    let blocks = sources.iter().flat_map(|source| &source.blocks);
    let trained = blocks.flat_map(|block| block.draws.iter().zip(&block.lengths));
    trained.filter_map(|(draw, length)| left.remove(&(*draw, *length as usize))).sum()
}

/// What a block tells when only its lengths, held-out marks and (for these) ids are read.
struct ScannedBlock {
    source: usize,
    rows: BlockRows,
    held_out: Vec<Candidate>,
}

/// Reads every block of every source once; `judged`: whether held-out documents may validate.
fn scan(
    plan: &MixPlan,
    judged: bool,
    work: &Work<'_>,
) -> Result<(Vec<SourceBlocks>, Vec<Vec<Candidate>>)> {
    let sources = plan.sources.iter().map(|source| SourceBlocks {
        name: source.name.clone(),
        blocks: Vec::with_capacity(source.blocks.len()),
    });
    let mut sources: Vec<SourceBlocks> = sources.collect();
    let mut candidates: Vec<Vec<Candidate>> = plan.sources.iter().map(|_| Vec::new()).collect();
    let blocks =
        plan.sources.iter().enumerate().flat_map(|(source, planned)| {
            planned.blocks.iter().map(move |&place| Ok((source, place)))
        });
    parallel::ordered(
        work.threads,
        2 * work.threads,
        blocks,
        |(source, place)| {
            let scanned = scan_block(plan, source, place, judged)?;
            work.advance(plan.entry(place).bytes);
            Ok(scanned)
        },
        |block| {
            sources[block.source].blocks.push(block.rows);
            candidates[block.source].extend(block.held_out);
            Ok(())
        },
    )?;
    Ok((sources, candidates))
}

fn scan_block(
    plan: &MixPlan,
    source: usize,
    place: BlockPlace,
    judged: bool,
) -> Result<ScannedBlock> {
    let file = plan.files[place.file];
    let raw = plan.sets[file.set].shards()[file.shard].reader.read(place.block)?;
    let (ids, mut lengths) = (raw.documents()?, raw.lengths()?);
    let entry = plan.entry(place);
    let mut held_out = Vec::new();
    if entry.facts.held_out_documents > 0 {
        let marks = raw.held_out()?;
        marks.set_indices().for_each(|row| lengths[row] = HELD_OUT);
        if judged {
            held_out = candidates(&raw, place, &ids, &marks)?;
        }
    }
    let text_bytes = match plan.measure {
        Measure::Tokens => Vec::new(),
        Measure::Bytes => raw.text_bytes()?,
    };
    let width = plan.sets[0].width().bytes();
    let rows = BlockRows {
        shard: place.file as u32,
        first_row: u32::try_from(plan.first_row(place)).expect("a shard holds 2^32 rows at most"),
        decoded_bytes: entry.facts.tokens * width + (entry.documents + 1) * 4,
        draws: ids.iter().flatten().map(draw).collect(),
        lengths: lengths.into(),
        text_bytes: text_bytes.into(),
    };
    Ok(ScannedBlock { source, rows, held_out })
}

/// The documents of a block that may validate.
fn candidates(
    raw: &RawBlock<'_>,
    place: BlockPlace,
    ids: &StringArray,
    marks: &BooleanBuffer,
) -> Result<Vec<Candidate>> {
    let (bytes, facts) = (raw.text_bytes()?, raw.held_out_facts(marks.set_indices())?);
    let candidate = |(row, facts): (usize, HeldOut)| {
        let hash = match &facts.text {
            Some(text) => place_of(*text),
            None => hash(0, "validation", &[ids.value(row).as_bytes()]),
        };
        let judged = facts.verdict.is_some();
        Candidate { hash, judged, place, row, bytes: bytes[row], text: facts.text }
    };
    Ok(marks.set_indices().zip(facts).map(candidate).collect())
}

/// What the stream holds of one source.
#[derive(Clone, Copy, Debug, Default)]
struct PlacedTotals {
    documents: u64,
    tokens: u64,
}

/// The order as it was laid.
struct Laid {
    /// By phase, then by source.
    placed: Vec<Vec<PlacedTotals>>,
    /// Bytes of decoded blocks that sequential reading holds.
    window_bytes: u64,
    packing: Option<MixPacking>,
}

impl Laid {
    /// Of one source, in all phases.
    fn source(&self, source: usize) -> PlacedTotals {
        let phases = self.placed.iter().map(|phase| phase[source]);
        phases.fold(PlacedTotals::default(), |sum, one| PlacedTotals {
            documents: sum.documents + one.documents,
            tokens: sum.tokens + one.tokens,
        })
    }

    fn tokens(&self) -> u64 {
        self.placed.iter().flatten().map(|one| one.tokens).sum()
    }
}

fn write_order(
    plan: &MixPlan,
    config: &MixConfig,
    sources: &[SourceBlocks],
    work: &Work<'_>,
) -> Result<Laid> {
    let order = OrderConfig { seed: config.seed, measure: plan.measure };
    let budgets: Vec<Vec<u64>> = plan.phases.iter().map(|phase| phase.budgets.clone()).collect();
    let mut writer = OrderWriter::create(&work.path(ORDER_FILE))?;
    let mut placed = vec![vec![PlacedTotals::default(); sources.len()]; budgets.len()];
    let mut packer = config.sequence.map(Packer::new);
    let mut put = |document: Placed| {
        let of_phase = &mut placed[usize::from(document.phase)];
        let source = &mut of_phase[usize::from(document.source)];
        source.documents += 1;
        source.tokens += document.tokens;
        writer.push(document.shard, document.row, document.source, document.tokens)
    };
    let mut window_bytes = interleave(sources, &budgets, order, |document| match &mut packer {
        Some(packer) => packer.push(document, &mut put),
        None => put(document),
    })?;
    let packing = packer.map(|packer| packer.finish(&mut put)).transpose()?;
    if packing.is_some() {
        // Documents of the previous cell may still wait when the next one is opened, so two are
        // held.
        window_bytes *= 2;
    }
    let about = writer.finish()?;
    if plan.measure == Measure::Tokens {
        assert_eq!(about.tokens, plan.size, "tokens of the order and of the mix");
        let found = placed.iter().map(|phase| phase.iter().map(|source| source.tokens).collect());
        let found: Vec<Vec<u64>> = found.collect();
        assert_eq!(found, budgets, "achieved tokens and budgets, by phase");
    }
    let rows = Some(about.documents);
    let tokens = Some(about.tokens);
    work.describe(ORDER_FILE, FileCounts { rows, documents: rows, tokens });
    Ok(Laid { placed, window_bytes, packing })
}

/// Chooses and reads the held-out documents.
fn held_out(
    plan: &MixPlan,
    config: &MixConfig,
    candidates: Vec<Vec<Candidate>>,
    work: &Work<'_>,
) -> Result<Vec<ValidationSource>> {
    let mut sources = Vec::with_capacity(plan.sources.len());
    for (source, candidates) in plan.sources.iter().zip(candidates) {
        let chosen = choose(candidates, config.eval_tokens.0);
        let documents = read_documents(plan, &chosen, work)?;
        sources.push(ValidationSource { name: source.name.clone(), documents });
    }
    Ok(sources)
}

/// Writes the texts that validate.
fn write_texts(plan: &MixPlan, sources: &[ValidationSource], work: &Work<'_>) -> Result<()> {
    let width = plan.sets[0].width();
    write_validation(&work.path(VALIDATION_FILE), width, sources)?;
    let all = || sources.iter().flat_map(|source| &source.documents);
    let rows = Some(all().count() as u64);
    let tokens = Some(all().map(|document| document.tokens.len() as u64).sum());
    work.describe(VALIDATION_FILE, FileCounts { rows, documents: rows, tokens });
    Ok(())
}

/// The chosen documents, in their order; each block is decoded once.
fn read_documents(
    plan: &MixPlan,
    chosen: &[Candidate],
    work: &Work<'_>,
) -> Result<Vec<ValidationDocument>> {
    let mut by_block: BTreeMap<BlockPlace, Vec<(usize, usize)>> = BTreeMap::new();
    for (index, candidate) in chosen.iter().enumerate() {
        by_block.entry(candidate.place).or_default().push((index, candidate.row));
    }
    let mut documents: Vec<(usize, ValidationDocument)> = Vec::with_capacity(chosen.len());
    parallel::ordered(
        work.threads,
        2 * work.threads,
        by_block.into_iter().map(Ok),
        |(place, rows)| {
            let file = plan.files[place.file];
            let reader = &plan.sets[file.set].shards()[file.shard].reader;
            let block = reader.read_block(place.block)?;
            let documents = rows.into_iter().map(|(index, row)| {
                let id = block.document(row).to_owned();
                let tokens = block.tokens(row).to_vec();
                let known = block.held_out_facts(row);
                (index, ValidationDocument { id, bytes: block.bytes(row), tokens, known })
            });
            Ok(documents.collect::<Vec<_>>())
        },
        |found| {
            documents.extend(found);
            Ok(())
        },
    )?;
    documents.sort_by_key(|(index, _)| *index);
    Ok(documents.into_iter().map(|(_, document)| document).collect())
}

/// Writes the stream out. It holds decoded blocks as the trainer does, within half the memory.
fn write_rows(plan: &MixPlan, record: &MixRecord, work: &Work<'_>) -> Result<()> {
    let shard = |place: &FilePlace| &plan.sets[place.set].shards()[place.shard];
    let paths = plan.files.iter().map(|place| shard(place).reader.path().to_owned()).collect();
    let mut reader = MixReader::over(record.clone(), &work.path(ORDER_FILE), paths)?;
    reader.limit(reader.window_bytes().min(work.memory / 2));
    let mut writer = RowsWriter::create(&work.path(ROWS_FILE), record.token_width)?;
    let (mut tokens, mut starts) = (Vec::new(), Vec::new());
    for first in (0..record.tokens).step_by(BLOCK_TOKENS as usize) {
        let length = BLOCK_TOKENS.min(record.tokens - first) as usize;
        reader.read(first, length, &mut tokens, &mut starts)?;
        writer.push(&tokens)?;
    }
    writer.finish()?;
    let tokens = Some(record.tokens);
    work.describe(ROWS_FILE, FileCounts { rows: tokens, documents: None, tokens });
    Ok(())
}

fn record(
    plan: &MixPlan,
    laid: &Laid,
    validation: &[ValidationSource],
    is_own: bool,
) -> Result<MixRecord> {
    let first = &plan.sets[0];
    let (end_of_text, end_of_text_id) = first.end_of_text().expect("checked by the plan");
    let validated = validation.iter().map(validated_source).collect::<Vec<_>>();
    let sources = plan.sources.iter().enumerate().map(|(index, source)| {
        let placed = laid.source(index);
        let texts = if is_own { ValidatedSource::default() } else { validated[index].clone() };
        // Under budgets of bytes the passes are over bytes, which is what was asked for.
        let (asked, available) = match plan.measure {
            Measure::Tokens => (source.budget, source.available_tokens),
            Measure::Bytes => (source.budget, source.available_bytes.unwrap_or(0)),
        };
        MixSource {
            name: source.name.clone(),
            weight: match source.weight {
                Some(weight) => weight.to_string(),
                None => decimal(source.budget, plan.size),
            },
            budget_tokens: (plan.measure == Measure::Tokens).then_some(source.budget),
            budget_bytes: (plan.measure == Measure::Bytes).then_some(source.budget),
            achieved_tokens: placed.tokens,
            available_tokens: source.available_tokens,
            available_documents: source.available_documents(),
            documents: placed.documents,
            epochs: fraction(asked, available),
            epochs_decimal: decimal(asked, available),
            validation_documents: texts.documents,
            validation_tokens: texts.tokens,
            validation_bytes: texts.bytes,
            validation_kept: texts.kept,
            validation: texts.validation,
        }
    });
    let sources = sources.collect();
    Ok(MixRecord {
        format: MIX_FORMAT,
        tokens: laid.tokens(),
        documents: laid.placed.iter().flatten().map(|source| source.documents).sum(),
        window_bytes: laid.window_bytes,
        packing: laid.packing,
        materialized: false,
        token_width: first.width(),
        vocab_size: first.vocab_size()?,
        end_of_text: end_of_text.to_owned(),
        end_of_text_id,
        tokenizer: first.tokenizer(),
        validation: Some(fingerprint_of(validation)),
        phases: phases(plan, laid),
        sources,
        validation_sources: if is_own { validated } else { Vec::new() },
        shards: shard_files(plan),
    })
}

/// What `mix.json` says of the texts of one source.
fn validated_source(source: &ValidationSource) -> ValidatedSource {
    let texts = || source.documents.iter();
    ValidatedSource {
        name: source.name.clone(),
        documents: texts().count() as u64,
        tokens: texts().map(|text| text.tokens.len() as u64).sum(),
        bytes: texts().map(|text| text.bytes).sum(),
        kept: texts().filter(|text| text.known.verdict.is_none()).count() as u64,
        validation: Some(fingerprint_of(std::slice::from_ref(source))),
    }
}

/// Which texts these are.
fn fingerprint_of(sources: &[ValidationSource]) -> Fingerprint {
    validation_fingerprint(sources.iter().flat_map(|source| {
        let name = source.name.as_str();
        source.documents.iter().map(move |one| (name, one.known.text, one.id.as_str()))
    }))
}

/// Where each phase begins, and what it reads of each source.
fn phases(plan: &MixPlan, laid: &Laid) -> Vec<MixPhase> {
    let mut first_token = 0;
    let phases = plan.phases.iter().zip(&laid.placed).map(|(phase, placed)| {
        let tokens: Vec<u64> = placed.iter().map(|source| source.tokens).collect();
        let weights = phase.weights.iter();
        let weights = weights.map(|weight| weight.map(|weight| weight.to_string()));
        let made = MixPhase {
            name: phase.name.clone(),
            first_token,
            tokens: tokens.iter().sum(),
            weights: weights.collect(),
            source_tokens: tokens,
        };
        first_token += made.tokens;
        made
    });
    phases.collect()
}

fn shard_files(plan: &MixPlan) -> Vec<ShardFile> {
    let files = plan.files.iter().map(|place| {
        let set = &plan.sets[place.set];
        let shard = &set.shards()[place.shard];
        let first = plan.sources.iter().find(|source| source.set == place.set);
        ShardFile {
            name: first.expect("a set is opened for a source").name.clone(),
            fingerprint: set.manifest().fingerprint,
            file: shard.name.clone(),
            xxh3: shard.xxh3,
            blocks: shard.reader.identity(),
        }
    });
    files.collect()
}

/// Copies the tokenizer into the mix, so that `train` and `generate` need no shards for it.
fn copy_tokenizer(plan: &MixPlan, work: &Work<'_>) -> Result<()> {
    let directory = work.path(TOKENIZER_DIRECTORY);
    io::create_directory(&directory)?;
    for path in io::list(&plan.sets[0].tokenizer_directory())? {
        if let (Some(name), true) = (path.file_name(), path.is_file()) {
            io::write(&directory.join(name), &io::read(&path)?)?;
        }
    }
    Ok(())
}

/// A document is in when a source has it, out when the stream shows it at least once; within an
/// epoch no document comes twice, so that is min(shown, available).
fn counts(plan: &MixPlan, record: &MixRecord) -> Counts {
    let mut counts = Counts::default();
    for (source, mixed) in plan.sources.iter().zip(&record.sources) {
        let available = source.available_documents();
        let shown = mixed.documents.min(available);
        let entry = counts.source(&source.name);
        entry.documents_in = source.documents;
        entry.documents_out = shown;
        entry.tokens = mixed.achieved_tokens;
        for (reason, amount) in
            [("held_out", source.held_out_documents), ("over_budget", available - shown)]
        {
            if amount > 0 {
                entry.dropped.insert(reason.to_owned(), amount);
            }
        }
        counts.add_extra("repeated_documents", mixed.documents - shown);
    }
    for texts in record.validated() {
        counts.add_extra("validation_documents", texts.documents);
        counts.add_extra("validation_tokens", texts.tokens);
    }
    counts
}
