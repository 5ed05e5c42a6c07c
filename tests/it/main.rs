//! All integration tests in one binary: linked once. Run them by `tests/run`, which brings a Postgres server.

mod activation;
mod collector;
mod conformance;
mod corpus;
mod database;
mod dependencies;
mod golden;
mod isolation;
mod keys;
mod kill;
mod killed;
mod layering;
mod life;
mod logs;
mod long_runs;
mod native;
mod otlp;
mod ports;
mod prices;
mod receipts;
mod quota;
mod security;
mod sources;
mod spans;
mod spool;
mod store;
