//! The ground floor: plain data that every stage shares. No I/O, no clocks, imports nothing of ours.

pub mod id;
pub mod value;
pub mod span;
pub mod log;
pub mod step;
pub mod run;
pub mod batch;
pub mod quota;
pub mod receipt;
pub mod key;
pub mod query;
