pub mod base;
pub mod pipeline;
pub mod tokenizer;
