//! What a Postgres database holds after a measurement, and the floor under it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use bytes::{Buf, Bytes, BytesMut};
use futures_util::TryStreamExt;
use sqlx::{Connection, Executor, PgConnection};

use crate::{FLOOR_ROWS_MAX, ROWS_PER_TRANSACTION, Stored};

const FLOOR_CONNECTIONS: usize = 2;

pub async fn stored(url: &str) -> anyhow::Result<Stored> {
    let mut connection = PgConnection::connect(url).await?;
    let sql = "SELECT count(*), count(DISTINCT (run_id, step_id)) FROM steps";
    let (rows, distinct): (i64, i64) = sqlx::query_as(sql).fetch_one(&mut connection).await?;
    Ok(Stored { rows: rows as u64, distinct: distinct as u64 })
}

/// Steps a second that two connections reach who COPY the steps of the database at `from` and their runs into the empty
/// one `to`, which has the same tables, partitions and indexes, over and over for at least `measured`.
pub async fn copy_floor(from: &str, to: &str, measured: Duration) -> anyhow::Result<f64> {
    let chunks = Arc::new(read_transactions(from).await?);
    let (mut rows, mut spent) = (0, Duration::ZERO);
    while spent < measured {
        let mut admin = PgConnection::connect(to).await?;
        // Each round starts alike: no rows, and no checkpoint left over from the round before.
        admin.execute("TRUNCATE steps, runs").await?;
        admin.execute("CHECKPOINT").await?;
        let mut connections = Vec::new();
        for _ in 0..FLOOR_CONNECTIONS {
            connections.push(PgConnection::connect(to).await?);
        }
        let begin = Instant::now();
        let copies: Vec<_> = connections
            .into_iter()
            .enumerate()
            .map(|(first, connection)| tokio::spawn(copy_in(connection, chunks.clone(), first)))
            .collect();
        for copy in copies {
            rows += copy.await??;
        }
        spent += begin.elapsed();
    }
    Ok(rows as f64 / spent.as_secs_f64())
}

/// What the collector wrote, in portions of a transaction: steps, and their share of the runs.
async fn read_transactions(url: &str) -> anyhow::Result<Vec<[Bytes; 2]>> {
    let mut connection = PgConnection::connect(url).await?;
    let sql = "SELECT (SELECT count(*) FROM steps), (SELECT count(*) FROM runs)";
    let (all_steps, all_runs): (i64, i64) = sqlx::query_as(sql).fetch_one(&mut connection).await?;
    let runs_of = |steps: usize| (steps as u64 * all_runs as u64).div_ceil(all_steps.max(1) as u64) as usize;
    let steps = read_chunks(url, "steps", FLOOR_ROWS_MAX, ROWS_PER_TRANSACTION).await?;
    let runs = read_chunks(url, "runs", runs_of(FLOOR_ROWS_MAX), runs_of(ROWS_PER_TRANSACTION)).await?;
    Ok(steps.into_iter().zip(runs).map(|(steps, runs)| [steps, runs]).collect())
}

/// Rows of a table in binary COPY format, one complete stream for each portion.
async fn read_chunks(url: &str, table: &str, rows: usize, portion: usize) -> anyhow::Result<Vec<Bytes>> {
    let mut connection = PgConnection::connect(url).await?;
    let sql = format!("COPY (SELECT * FROM {table} LIMIT {rows}) TO STDOUT (FORMAT binary)");
    let mut stream = connection.copy_out_raw(&sql).await?;
    let mut bytes = BytesMut::new();
    while let Some(part) = stream.try_next().await? {
        bytes.extend_from_slice(&part);
    }
    split(bytes.freeze(), portion)
}

/// Every portion of which the number is `first` modulo the number of connections, a transaction each. How many steps.
async fn copy_in(mut connection: PgConnection, portions: Arc<Vec<[Bytes; 2]>>, first: usize) -> anyhow::Result<u64> {
    let mut rows = 0;
    for [steps, runs] in portions.iter().skip(first).step_by(FLOOR_CONNECTIONS) {
        let mut transaction = connection.begin().await?;
        for (table, stream, counted) in [("runs", runs, 0), ("steps", steps, 1)] {
            let mut copy = transaction.copy_in_raw(&format!("COPY {table} FROM STDIN (FORMAT binary)")).await?;
            copy.send(stream.clone()).await?;
            rows += copy.finish().await? * counted;
        }
        transaction.commit().await?;
    }
    Ok(rows)
}

/// Takes a binary COPY stream apart: a header of 19 bytes and more, tuples of length-prefixed fields, a trailer of -1.
fn split(stream: Bytes, portion: usize) -> anyhow::Result<Vec<Bytes>> {
    const FIXED_HEADER: usize = 19;
    ensure!(stream.len() > FIXED_HEADER && stream.starts_with(b"PGCOPY\n\xff\r\n\0"), "no binary COPY stream");
    let extension = (&stream[FIXED_HEADER - 4..FIXED_HEADER]).get_u32() as usize;
    let header = stream.slice(..FIXED_HEADER + extension);

    let mut chunks = Vec::new();
    let (mut at, mut chunk_begin, mut rows) = (header.len(), header.len(), 0);
    loop {
        let fields = (&stream[at..]).get_i16();
        if rows == portion || (fields == -1 && rows > 0) {
            chunks.push(Bytes::from([&header, &stream[chunk_begin..at], &[0xff, 0xff]].concat()));
            (chunk_begin, rows) = (at, 0);
        }
        if fields == -1 {
            return Ok(chunks);
        }
        at += 2;
        for _ in 0..fields {
            let length = (&stream[at..]).get_i32(); // -1 for NULL
            at += 4 + usize::try_from(length).unwrap_or(0);
        }
        rows += 1;
    }
}
