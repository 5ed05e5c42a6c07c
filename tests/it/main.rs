//! All integration tests in one binary: linked once. Run them by `tests/run`, which brings a Postgres server.

mod database;

mod store;
