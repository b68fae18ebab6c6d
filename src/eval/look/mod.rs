//! Looks inside a model: what it makes of one text, and which documents it finds hard and easy.
//!
//! In → a [`Subject`](super::Subject), a prompt or texts; out → [`PromptLook`] (loss by token,
//! norms by block, what it would say after each block, attention) or [`TextsLook`] (the documents
//! of highest and lowest loss by source). Both are plain data that print themselves; the pictures
//! are on a [`page`]. Nothing is written here.

pub mod page;
pub mod prompt;
pub mod texts;

/// Nats of a token at which its colour is full: what 22,000 equally likely tokens would each have.
pub const FULL_LOSS: f64 = 10.0;

pub use prompt::PromptLook;
pub use texts::TextsLook;
