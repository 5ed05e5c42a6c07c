//! The faults, a file for each kind of thing that breaks.

pub mod clients;
pub mod data;
pub mod disk;
pub mod failover;
pub mod killed;
pub mod locks;
pub mod machine;
pub mod memory;
pub mod network;
pub mod pooler;
pub mod postgres;
pub mod torn;
pub mod upgrade;
