//! Makes a mix: one unit that reads every block once and writes the order.
//!
//! In → a [`MixPlan`]; out → `order.arrow`, `validation.arrow`, `mix.json`, `tokenizer/`. Phases:
//! scan all blocks for lengths and held-out ids (in parallel, checked by XXH3, no token
//! decompressed), lay the order, then decode the blocks of the chosen held-out documents.
//! Invariants: achieved tokens equal the budgets; documents in = out + dropped. Memory:
//! [`memory_bytes`], refused when above what is allowed. Cost: reading the shards once, and some
//! 200 ns a document of the order.

use std::collections::BTreeMap;

use super::{
    config::MixConfig,
    order::{BlockRows, HELD_OUT, OrderConfig, SourceBlocks, interleave},
    plan::{BlockPlace, MixPlan},
    validation::{Candidate, choose},
    weights::{decimal, fraction},
};
use crate::{
    artifact::{counts::Counts, record::FileCounts, stage::Work},
    base::{error::Result, io, parallel, rng::hash},
    shards::{
        MixRecord, MixSource, ShardFile, ValidationDocument, ValidationSource,
        mix_record::{MIX_FILE, MIX_FORMAT},
        order::{ORDER_FILE, OrderWriter},
        set::TOKENIZER_DIRECTORY,
        validation::{VALIDATION_FILE, write_validation},
    },
};

/// A row of `order.arrow`: shard, row, source, first token.
pub const ORDER_BYTES: u64 = 4 + 4 + 2 + 8;
/// A length a document.
const DOCUMENT_BYTES: u64 = 4;
/// What choosing holds for a held-out document.
const CANDIDATE_BYTES: u64 = std::mem::size_of::<Candidate>() as u64;
/// Hash, block and row of a document in an open window.
const WINDOW_DOCUMENT_BYTES: u64 = 16;

/// Bytes of memory the unit needs: lengths of all documents, candidates for validation, the open
/// windows, the chosen validation texts.
pub fn memory_bytes(plan: &MixPlan, config: &MixConfig) -> u64 {
    let source_bytes = plan.sources.iter().map(|source| {
        let window_documents = source.available_documents().min(config.window_tokens.0);
        let validation_tokens = config.eval_tokens.0.min(source.held_out_documents << 16);
        source.documents * DOCUMENT_BYTES
            + source.held_out_documents * CANDIDATE_BYTES
            + window_documents * WINDOW_DOCUMENT_BYTES
            + validation_tokens * 8
    });
    source_bytes.sum()
}

/// Writes the mix into `work.dir`.
pub fn run(plan: &MixPlan, config: &MixConfig, work: &Work<'_>) -> Result<Counts> {
    work.require_memory(memory_bytes(plan, config), "the order of this mix")?;
    let (sources, candidates) = scan(plan, work)?;
    let placed = write_order(plan, config, &sources, work)?;
    let validation = write_held_out(plan, config, candidates, work)?;
    let record = record(plan, config, &placed, &validation)?;
    io::write(&work.path(MIX_FILE), record.to_json().as_bytes())?;
    copy_tokenizer(plan, work)?;
    Ok(counts(plan, &record))
}

/// What a block tells when only its lengths, held-out marks and (for these) ids are read.
struct ScannedBlock {
    source: usize,
    rows: BlockRows,
    held_out: Vec<Candidate>,
}

/// Reads every block of every source once.
fn scan(plan: &MixPlan, work: &Work<'_>) -> Result<(Vec<SourceBlocks>, Vec<Vec<Candidate>>)> {
    let sources = plan.sources.iter().map(|source| SourceBlocks {
        name: source.name.clone(),
        budget: source.budget_tokens,
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
            let scanned = scan_block(plan, source, place)?;
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

fn scan_block(plan: &MixPlan, source: usize, place: BlockPlace) -> Result<ScannedBlock> {
    let file = plan.files[place.file];
    let raw = plan.sets[file.set].shards()[file.shard].reader.read(place.block)?;
    let mut lengths = raw.lengths()?;
    let mut held_out = Vec::new();
    if plan.entry(place).facts.held_out_documents > 0 {
        let ids = raw.documents()?;
        for row in raw.held_out()?.set_indices() {
            let length = std::mem::replace(&mut lengths[row], HELD_OUT);
            let hash = hash(0, "validation", &[ids.value(row).as_bytes()]);
            held_out.push(Candidate { hash, place, row, tokens: u64::from(length) });
        }
    }
    let rows = BlockRows {
        shard: place.file as u32,
        block: place.block as u32,
        tokens: plan.entry(place).facts.tokens,
        first_row: u32::try_from(plan.first_row(place)).expect("a shard holds 2^32 rows at most"),
        lengths: lengths.into(),
    };
    Ok(ScannedBlock { source, rows, held_out })
}

/// What the stream holds of one source.
#[derive(Clone, Copy, Debug, Default)]
struct PlacedTotals {
    documents: u64,
    tokens: u64,
}

fn write_order(
    plan: &MixPlan,
    config: &MixConfig,
    sources: &[SourceBlocks],
    work: &Work<'_>,
) -> Result<Vec<PlacedTotals>> {
    let names = plan.files.iter().map(|file| plan.sets[file.set].shards()[file.shard].name.clone());
    let names: Vec<String> = names.collect();
    let order =
        OrderConfig { seed: config.seed, window_tokens: config.window_tokens.0, files: &names };
    let mut writer = OrderWriter::create(&work.path(ORDER_FILE))?;
    let mut totals = vec![PlacedTotals::default(); sources.len()];
    interleave(sources, order, |placed| {
        let source = &mut totals[usize::from(placed.source)];
        source.documents += 1;
        source.tokens += placed.tokens;
        writer.push(placed.shard, placed.row, placed.source, placed.tokens)
    })?;
    let about = writer.finish()?;
    assert_eq!(about.tokens, plan.tokens, "tokens of the order and of the mix");
    for (source, total) in sources.iter().zip(&totals) {
        assert_eq!(total.tokens, source.budget, "achieved tokens and budget of {}", source.name);
    }
    let rows = Some(about.documents);
    let tokens = Some(about.tokens);
    work.describe(ORDER_FILE, FileCounts { rows, documents: rows, tokens });
    Ok(totals)
}

/// Chooses, reads and writes the held-out documents.
fn write_held_out(
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
    let width = plan.sets[0].width();
    write_validation(&work.path(VALIDATION_FILE), width, &sources)?;
    let all = || sources.iter().flat_map(|source| &source.documents);
    let rows = Some(all().count() as u64);
    let tokens = Some(all().map(|document| document.tokens.len() as u64).sum());
    work.describe(VALIDATION_FILE, FileCounts { rows, documents: rows, tokens });
    Ok(sources)
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
                (index, ValidationDocument { id, bytes: block.bytes(row), tokens })
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

fn record(
    plan: &MixPlan,
    config: &MixConfig,
    placed: &[PlacedTotals],
    validation: &[ValidationSource],
) -> Result<MixRecord> {
    let first = &plan.sets[0];
    let (end_of_text, end_of_text_id) = first.end_of_text().expect("checked by the plan");
    let sources = plan.sources.iter().zip(placed).zip(validation);
    let sources = sources.map(|((source, placed), validation)| {
        let texts = || validation.documents.iter();
        MixSource {
            name: source.name.clone(),
            weight: source.weight.to_string(),
            budget_tokens: source.budget_tokens,
            achieved_tokens: placed.tokens,
            available_tokens: source.available_tokens,
            available_documents: source.available_documents(),
            documents: placed.documents,
            epochs: fraction(source.budget_tokens, source.available_tokens),
            epochs_decimal: decimal(source.budget_tokens, source.available_tokens),
            validation_documents: texts().count() as u64,
            validation_tokens: texts().map(|text| text.tokens.len() as u64).sum(),
            validation_bytes: texts().map(|text| text.bytes).sum(),
        }
    });
    Ok(MixRecord {
        format: MIX_FORMAT,
        tokens: plan.tokens,
        documents: placed.iter().map(|source| source.documents).sum(),
        window_tokens: config.window_tokens.0,
        token_width: first.width(),
        vocab_size: first.vocab_size()?,
        end_of_text: end_of_text.to_owned(),
        end_of_text_id,
        tokenizer: first.tokenizer(),
        sources: sources.collect(),
        shards: shard_files(plan),
    })
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

/// The tokenizer travels with the mix: `train` and `generate` need no shards for it.
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
        counts.add_extra("validation_documents", mixed.validation_documents);
        counts.add_extra("validation_tokens", mixed.validation_tokens);
    }
    counts
}
