pub mod base;
pub mod pipeline;
pub mod tokenizer;
#[cfg(feature = "train")]
pub mod runtime;
