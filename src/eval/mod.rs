//! Evaluates a model: questions with choices, and bits per byte of texts.

pub mod task;
