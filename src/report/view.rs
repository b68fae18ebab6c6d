//! The options of a page.
//!
//! In → the choices of a person; out → [`View`].

use super::records::Run;

/// The options of a page.
#[derive(Default)]
pub struct View {
    /// The run that bits per byte are compared with.
    pub baseline: Option<Run>,
    /// The price of an hour, instead of the runs' own.
    pub price_per_hour: Option<f64>,
    /// Whether the page reloads itself when the records change.
    pub live: bool,
}
