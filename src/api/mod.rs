//! The query API: questions read from URLs, runs and steps written as JSON.

pub mod filter;
pub mod render;
