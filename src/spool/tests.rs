//! The spool on real files: what was kept is there, whatever happens to the file.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use bytes::Bytes;
use sqlx::Connection;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::model::id::ProjectId;
use crate::otlp::Encoding;
use crate::telemetry::Transport;

fn request(number: u64, body_bytes: usize) -> Kept {
    let content = match number % 3 {
        0 => Content::Traces(Encoding::Protobuf),
        1 => Content::Logs(Encoding::Json),
        _ => Content::Run(Uuid::from_u128(number.into())),
    };
    Kept {
        project: ProjectId(number as i64),
        key_id: format!("key{number}"),
        content,
        transport: Transport::Http,
        received_at: DateTime::from_timestamp(1_793_491_200, 0).unwrap(),
        sent_bytes: number,
        body: Bytes::from(format!("request {number} ").into_bytes().repeat(body_bytes / 8)),
    }
}

async fn open(folder: &TempDir) -> Spool {
    open_with(folder, u64::MAX).await.unwrap()
}

async fn open_with(folder: &TempDir, bytes_max: u64) -> anyhow::Result<Spool> {
    Spool::open(&folder.path().join("spool.db"), bytes_max, Arc::default()).await
}

/// Everything in it, portion by portion.
async fn all(spool: &Spool) -> (Vec<Row>, u64) {
    let (mut rows, mut damaged, mut after) = (Vec::new(), 0, 0);
    loop {
        let portion = spool.read(after).await.unwrap();
        if portion.last == after {
            return (rows, damaged);
        }
        after = portion.last;
        damaged += portion.damaged;
        rows.extend(portion.rows);
    }
}

fn projects(rows: &[Row]) -> Vec<i64> {
    rows.iter().map(|row| row.kept.project.0).collect()
}

/// Files of the folder whose name holds `part`.
fn files(folder: &TempDir, part: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_string_lossy().contains(part)).collect()
}

#[tokio::test]
async fn what_was_kept_is_read_in_order_and_survives() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(&folder).await;
    assert!(spool.is_empty() && spool.is_taking());
    // Many at once share transactions.
    let keeping = (0..200).map(|number| spool.keep(request(number, 100)));
    assert!(futures_util::future::join_all(keeping).await.iter().all(Result::is_ok));
    spool.close().await;
    assert_eq!(spool.keep(request(0, 1)).await, Err(NotKept::Failed), "closed");

    let spool = open(&folder).await;
    let (rows, damaged) = all(&spool).await;
    assert_eq!((rows.len(), damaged), (200, 0));
    for row in &rows {
        assert_eq!(row.kept, request(row.kept.sent_bytes, 100));
    }
    assert!(rows.is_sorted_by_key(|row| row.seq));
    assert!(spool.delete(&rows[..150]).await);
    assert!(!spool.is_empty());
    let last = rows[199].seq;
    assert!(spool.delete(&rows[150..]).await);
    assert!(spool.is_empty());
    spool.keep(request(7, 100)).await.unwrap();
    assert!(all(&spool).await.0[0].seq > last, "no number is used twice");
}

#[tokio::test]
async fn an_emptied_spool_gives_its_room_back() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(&folder).await;
    for number in 0..20 {
        spool.keep(request(number, 200_000)).await.unwrap();
    }
    let bytes = || files(&folder, "spool").iter().map(|path| fs::metadata(path).unwrap().len()).sum::<u64>();
    assert!(bytes() > 4_000_000);
    let (rows, _) = all(&spool).await;
    assert!(spool.delete(&rows).await);
    assert!(bytes() < 100_000, "{} bytes in {:?}", bytes(), files(&folder, "spool"));
}

#[tokio::test]
async fn portions_are_bounded_but_never_empty() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(&folder).await;
    for bytes in [1 << 20, 3 << 20, 5 << 20, 1 << 10] {
        spool.keep(request(0, bytes)).await.unwrap();
    }
    let mut after = 0;
    let mut counts = Vec::new();
    while let Some(portion) = spool.read(after).await.filter(|portion| portion.last > after) {
        after = portion.last;
        counts.push(portion.rows.len());
    }
    assert_eq!(counts.iter().sum::<usize>(), 4);
    assert!(counts.len() >= 3, "{counts:?}");
}

#[tokio::test]
async fn it_takes_exactly_what_it_may() {
    let folder = tempfile::tempdir().unwrap();
    let one = request(0, 1000);
    let spool = open_with(&folder, one.room_bytes() * 3).await.unwrap();
    let answers = futures_util::future::join_all((0..5).map(|_| spool.keep(one.clone()))).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 3);
    assert!(answers.iter().all(|answer| matches!(answer, Ok(()) | Err(NotKept::Full))));
    assert!(!spool.is_taking());
    spool.close().await;

    let spool = open_with(&folder, one.room_bytes() * 3).await.unwrap();
    assert_eq!(spool.keep(one.clone()).await, Err(NotKept::Full), "what is there from before counts");
    let (rows, _) = all(&spool).await;
    assert!(spool.delete(&rows[..1]).await);
    assert!(spool.is_taking());
    assert_eq!(spool.keep(one.clone()).await, Ok(()));
    assert_eq!(spool.keep(one).await, Err(NotKept::Full));
}

#[tokio::test]
async fn only_one_uses_it_and_only_its_owner_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(&folder).await;
    spool.keep(request(0, 100)).await.unwrap();
    for path in files(&folder, "spool") {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
    }
    assert!(files(&folder, "-wal").len() == 1, "it has a write-ahead log");
    let refused = open_with(&folder, 1).await.err().unwrap();
    assert!(format!("{refused:#}").contains("another collector"), "{refused:#}");
    spool.close().await;
    open(&folder).await;
}

#[tokio::test]
async fn a_damaged_row_is_set_aside_and_the_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(&folder).await;
    for number in 0..10 {
        spool.keep(request(number, 100)).await.unwrap();
    }
    spool.close().await;
    let path = folder.path().join("spool.db");
    let mut bytes = fs::read(&path).unwrap();
    let place = bytes.windows(10).position(|window| window == b"request 4 ").unwrap();
    bytes[place + 12] ^= 1;
    fs::write(&path, bytes).unwrap();
    let mut connection = sqlx::SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    sqlx::query("UPDATE spool SET transport = 'pigeon' WHERE project = 6").execute(&mut connection).await.unwrap();
    sqlx::query("UPDATE spool SET run_id = 'not sixteen bytes' WHERE project = 8")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();

    let spool = open(&folder).await;
    let (rows, damaged) = all(&spool).await;
    assert_eq!((projects(&rows), damaged), (vec![0, 1, 2, 3, 5, 7, 9], 3));
    assert_eq!(all(&spool).await.1, 0, "once");
    assert!(spool.delete(&rows).await);
    assert!(spool.is_empty());
    assert!(files(&folder, "corrupt").is_empty());
    spool.close().await;
    let mut connection = sqlx::SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    let kept: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM damaged").fetch_one(&mut connection).await.unwrap();
    assert_eq!(kept, 3);
}

#[tokio::test]
async fn a_file_that_is_none_is_renamed() {
    for garbage in [b"this is no database, and never was".repeat(1000), vec![0xff; 100], b"SQLite format 3\0".to_vec()]
    {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("spool.db"), &garbage).unwrap();
        let spool = open(&folder).await;
        let aside = files(&folder, "corrupt");
        assert_eq!(aside.len(), 1, "{aside:?}");
        assert_eq!(fs::read(&aside[0]).unwrap(), garbage);
        spool.keep(request(1, 100)).await.unwrap();
        assert_eq!(projects(&all(&spool).await.0), [1]);
    }
}

#[tokio::test]
async fn what_can_be_read_of_a_damaged_file_is_salvaged() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(&folder).await;
    for number in 0..300 {
        spool.keep(request(number, 900)).await.unwrap();
    }
    spool.close().await;
    let path = folder.path().join("spool.db");
    let mut bytes = fs::read(&path).unwrap();
    const PAGE: usize = 4096;
    let page = bytes.windows(12).position(|window| window == b"request 150 ").unwrap() / PAGE;
    bytes[page * PAGE..(page + 1) * PAGE].fill(0xaa);
    fs::write(&path, bytes).unwrap();

    let spool = open(&folder).await;
    let (rows, damaged) = all(&spool).await;
    let found = projects(&rows);
    assert_eq!(damaged, 0);
    assert!(found.len() > 280 && found.len() < 300, "{} of 300: {found:?}", found.len());
    assert!(found.contains(&0) && found.contains(&299), "on both sides of it");
    for row in &rows {
        assert_eq!(row.kept, request(row.kept.sent_bytes, 900));
    }
    assert_eq!(files(&folder, "corrupt").len(), 1);
}

#[tokio::test]
async fn after_an_error_the_file_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(&folder).await;
    spool.keep(request(0, 100)).await.unwrap();
    let path = folder.path().join("spool.db");
    let mut connection = sqlx::SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    let refuse = "CREATE TRIGGER full BEFORE INSERT ON spool BEGIN SELECT RAISE(ABORT, 'no'); END";
    sqlx::query(refuse).execute(&mut connection).await.unwrap();
    assert_eq!(spool.keep(request(1, 100)).await, Err(NotKept::Failed));
    assert!(!spool.is_taking());
    sqlx::query("DROP TRIGGER full").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    assert_eq!(spool.keep(request(2, 100)).await, Ok(()));
    assert!(spool.is_taking());
    assert_eq!(projects(&all(&spool).await.0), [0, 2]);
    let room = |number| request(number, 100).room_bytes();
    assert_eq!(spool.shared.room().stored(), room(0) + room(2), "what failed takes no room");
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing/spool.db");
    let refused = Spool::open(&path, 1, Arc::default()).await.err().unwrap();
    assert!(format!("{refused:#}").contains("missing/spool.db"), "{refused:#}");
}
