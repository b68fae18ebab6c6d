//! How a page is wanted.
//!
//! In → the choices of a person; out → [`View`].

use super::records::Run;

/// How the page is wanted.
#[derive(Default)]
pub struct View {
    /// What the bits per byte are held against.
    pub baseline: Option<Run>,
    /// Of an hour, instead of what runs say.
    pub price_per_hour: Option<f64>,
    /// Whether the page asks for news of its own accord.
    pub live: bool,
}
