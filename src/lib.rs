pub mod base;
pub mod filter;
pub mod ingest;
pub mod pipeline;
#[cfg(feature = "train")]
pub mod runtime;
pub mod source;
pub mod tokenizer;
