//! Tokens for other trainers: what `export` writes from shards and from a mix.
//!
//! In → token shards, or a mix; out → a folder that another trainer's own loader opens, with one
//! module for each form in [`forms`]. From shards it writes the documents in file order, with the
//! held-out ones as the validation split; from a mix the training stream in its order, and its
//! validation documents. Reading order: [`config`] the options, [`read`] where tokens come from,
//! [`forms`] how they are laid out, [`run`] the stage.
//!
//! **Where documents meet.** A form that lays documents one after another (nanoGPT, LitData, numpy,
//! and Megatron as its `--append-eod` does) has an end-of-text after each document of shards, as
//! these tools write it themselves; a mix is what the model reads, so there it stands before each.
//! A form of samples (MDS, Hugging Face) has one document a sample, without end-of-text; from a mix
//! it has rows of `sequence` tokens, the trainer's own.
//!
//! Invariants: apart from end-of-text no token is lost or added; the bytes are a function of the
//! input and the configuration. Cost: each block is decoded once; a few megabytes of buffers, or
//! the window of a mix; about as fast as the disk.

pub mod config;
pub mod forms;
pub mod read;
pub mod run;

pub use config::{TokenExportConfig, TokenForm, is_token_form};
pub use run::TokenExport;
