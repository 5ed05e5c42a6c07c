//! VectorOS Collector: OTLP and `POST /runs` in, committed to Postgres or SQLite, runs out.
//!
//! Modules stand in the order of the path of data. Each imports only from those above it;
//! `tests/it/layering.rs` holds the rule.

pub mod model;

pub mod config;

pub mod telemetry;

pub mod otlp;

pub mod messages;

pub mod prices;

pub mod mapping;

pub mod native;

pub mod assembly;

pub mod quota;

pub mod store;

pub mod view;

pub mod auth;

pub mod admission;

pub mod queue;

pub mod circuit;

pub mod spool;

pub mod writer;

pub mod tally;

pub mod sweeper;

pub mod pipeline;

pub mod replayer;

pub mod receiver;

pub mod api;

pub mod app;

pub mod cli;
