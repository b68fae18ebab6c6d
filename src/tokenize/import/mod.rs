//! `import`: tokens of other trainers → token shards.
//!
//! In: `.bin` files of nanoGPT (raw) or llm.c (with its header), or Megatron's `.bin` beside
//! `.idx`, and the tokenizer that made them; out: shards as [`super`] writes them, with
//! `tokenizer/`. It is a command of its own beside `tokenize`, which reads text: here nothing is
//! encoded, the form has to be said (raw tokens do not say it), and what goes out by `export` comes
//! back by `import`.
//!
//! Method: documents are cut at end-of-text ([`cut`]), in Megatron's form also where its index
//! says. Each is decoded to its text, whose hash is its id and whose bytes are counted, so an
//! imported document has the id, the length and the side of the split that its text has everywhere
//! else. What other tools keep as validation (`val.bin`, `fineweb_val_000000.bin`) is held out
//! whole. Invariants: every token but end-of-text is in a shard, once, in order; ids beyond the
//! vocabulary stop the work. Cost: reading, decoding and compressing, a file a unit; a document in
//! memory.

mod config;
mod cut;
mod megatron;
mod run;
mod stream;
#[cfg(test)]
mod tests;

pub use config::{ImportConfig, ImportForm};
pub use run::Import;
