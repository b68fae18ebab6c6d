pub mod base;
pub mod pipeline;
