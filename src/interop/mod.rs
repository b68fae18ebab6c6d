//! Tokens for other trainers: what `export` writes of shards and of a mix.
//!
//! In → token shards, or a mix; out → a folder that another trainer's own loader opens, one file a
//! form in [`forms`]. Of shards come the documents in file order, held-out ones apart as the
//! validation split; of a mix the training stream in its order, and its validation documents.
//! Reading order: [`config`] what is asked, [`read`] where tokens come from, [`forms`] how they are
//! laid, [`run`] the stage.
//!
//! **Where documents meet.** A form that lays documents one after another (nanoGPT, LitData, numpy,
//! and Megatron as its `--append-eod` does) has an end-of-text behind each document of shards, as
//! these tools write it themselves; a mix is what the model reads, so there it stands before each.
//! A form of samples (MDS, Hugging Face) has a document a sample, without one; of a mix it has rows
//! of `sequence` tokens, the trainer's own.
//!
//! Invariants: no token is lost or added beside the end-of-text; the bytes are a function of
//! the input and the configuration. Cost: each block is decoded once; a few megabytes of buffers,
//! or the window of a mix; about as fast as the disk.

pub mod config;
pub mod forms;
pub mod read;
pub mod run;

pub use config::{TokenExportConfig, TokenForm, is_token_form};
pub use run::TokenExport;
