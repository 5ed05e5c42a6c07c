//! Which faults there are, on which stores, and which of them `cargo test` makes.

use std::pin::Pin;

use crate::faults::{
    clients, data, disk, failover, killed, locks, machine, memory, network, pooler, postgres, torn, upgrade,
};
use crate::report::Row;
use crate::rig::{Context, Kind};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// With every `cargo test`.
    Short,
    /// With `--all`, or by name.
    All,
    /// When asked for by its length.
    Soak,
}

/// A fault under way.
pub type Making = Pin<Box<dyn Future<Output = anyhow::Result<Row>>>>;

pub struct Fault {
    /// As in the fault matrix.
    pub id: &'static str,
    pub what: &'static str,
    pub tier: Tier,
    pub stores: &'static [Kind],
    pub make: fn(Context) -> Making,
}

const BOTH: &[Kind] = &[Kind::Sqlite, Kind::Postgres];
const POSTGRES: &[Kind] = &[Kind::Postgres];
const SQLITE: &[Kind] = &[Kind::Sqlite];

macro_rules! faults {
    ($($id:literal $tier:ident $stores:ident $make:path: $what:literal,)*) => {
        &[$(Fault {
            id: $id,
            what: $what,
            tier: Tier::$tier,
            stores: $stores,
            make: |context| Box::pin($make(context)),
        }),*]
    };
}

pub const FAULTS: &[Fault] = faults![
    "F01" Short BOTH killed::f01: "kill -9 of the collector at random moments",
    "F02" All POSTGRES killed::f02: "kill -9 of the collector after a COMMIT was sent and before its reply was heard",
    "F03" All BOTH killed::f03: "kill -9 between two transactions of one large request",
    "F04" All BOTH killed::f04: "kill -9 while it starts, migrates and makes the first key",
    "F05" Short BOTH killed::f05: "SIGTERM, SIGTERM twice, and SIGTERM followed by SIGKILL",
    "F06" All BOTH killed::f06: "the collector is stopped (SIGSTOP) and continued",
    "F08" All BOTH memory::f08: "six senders of large requests with as much memory as it needs, and with too little",
    "F09" All BOTH memory::f09: "the system gives no more memory: an allocation fails, and with it the program",
    "F10" All BOTH machine::f10: "64 file descriptors and 200 clients that hold connections",
    "F11" Short POSTGRES postgres::f11: "fast restarts of Postgres",
    "F12" Short POSTGRES postgres::f12: "immediate stops of Postgres",
    "F13" All POSTGRES postgres::f13: "kill -9 of the backend that writes; the server crashes and recovers",
    "F14" All POSTGRES postgres::f14: "20 pg_terminate_backend or pg_cancel_backend a second",
    "F15" Short POSTGRES postgres::f15: "all of Postgres stands still (SIGSTOP)",
    "F16" Short POSTGRES network::f16: "the connection ends after a COMMIT was forwarded and before its reply",
    "F17" All POSTGRES network::f17: "half-open connections to Postgres: bytes vanish both ways",
    "F18" All POSTGRES network::f18: "the way to Postgres stands still, then flaps twice a second",
    "F19" All POSTGRES network::f19: "a slow way to Postgres: 0.2 to 0.8 s a piece, 32 KiB a second",
    "F20" All POSTGRES network::f20: "losses on the way to Postgres, as the stalls that repeats of packets make",
    "F21" All BOTH network::f21: "clients' connections are reset in the middle of requests and answers",
    "F22" All POSTGRES locks::f22: "another session locks the same rows in the other order",
    "F23" All POSTGRES locks::f23: "the database's own isolation is serializable, and another session writes too",
    "F24" All POSTGRES locks::f24: "ACCESS EXCLUSIVE on the table of the steps for 10 s",
    "F25" All POSTGRES locks::f25: "a trigger that sleeps on the rows of one project",
    "F26" All POSTGRES postgres::f26: "no connection is left on the server when the collector starts",
    "F27" All POSTGRES disk::f27: "the disk of Postgres is full",
    "F28" All SQLITE disk::f28: "the disk of the SQLite file is full",
    "F29" All SQLITE torn::f29: "fsync, then writes, of the SQLite file fail with EIO",
    "F30" All SQLITE torn::f30: "loss of power: what was not synced is gone, at many moments",
    "F32" All SQLITE locks::f32: "another process holds the SQLite file; a second collector is started on it",
    "F33" All SQLITE locks::f33: "a long reader keeps SQLite from checkpoints",
    "F34" All BOTH machine::f34: "the collector's clock jumps by an hour and by ten years, and steps back each second",
    "F35" All POSTGRES failover::f35: "the primary stops at once under load, and its standby takes its place",
    "F35b" All POSTGRES failover::f35b: "the primary is cut off from its standby, COMMITs hang, and then the standby takes its place",
    "F36" Short POSTGRES postgres::f36: "the database becomes read-only",
    "F37" All POSTGRES pooler::f37: "PgBouncer before Postgres, and restarts of both",
    "F38" All BOTH data::f38: "values that databases refuse: NUL, lone surrogates, deep nesting, long names",
    "F39" Short BOTH data::f39: "a trigger refuses one step among a hundred",
    "F40" Short BOTH data::f40: "a column of the steps is renamed under load",
    "F48" Short BOTH clients::f48: "clients that go away after 0 to 50 ms",
    "F50" All BOTH data::f50: "the table of the keys is out of reach",
    "F51" All POSTGRES network::f51: "the name of the database's server is unknown when it is needed",
    "F53" All BOTH machine::f53: "nobody reads standard error, and its pipe is full",
    "F55" All BOTH upgrade::f55: "a later release adds to the schema under load, replicas of both, and back to this one",
    "F56" All POSTGRES postgres::f56: "Postgres is away, the outage spool is on, and the collector is killed meanwhile",
    "F57" All BOTH machine::f57: "four busy loops beside a collector of the lowest priority",
    "F58" All POSTGRES machine::f58: "three faults at random, again and again",
    "soak" Soak BOTH machine::soak: "70 % of what it can take, for long",
];
