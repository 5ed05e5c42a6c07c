//! What `open` accepts, and a database that is away.

use std::sync::Arc;

use vectoros::store::{Store, StoreError, Tuning, open};

use super::samples::*;
use crate::database::{Database, on_both_stores, sql};

#[tokio::test]
async fn an_unknown_scheme_is_refused_and_the_password_is_not_shown() {
    for url in ["mysql://me:secret@host/db", "vectoros.db", ""] {
        let error = open(url, Tuning::default(), Arc::default()).await.err().expect("refused").to_string();
        assert!(error.contains("sqlite://") && error.contains("postgres://"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn a_sqlite_store_needs_a_file() {
    for url in ["sqlite://", "sqlite://:memory:"] {
        assert!(open(url, Tuning::default(), Arc::default()).await.is_err(), "{url}");
    }
}

#[tokio::test]
async fn a_damaged_sqlite_file_is_left_alone_and_help_is_offered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.db");
    let bytes = [7; 100_000];
    std::fs::write(&path, bytes).unwrap();
    let url = format!("sqlite://{}", path.display());
    let error = open(&url, Tuning::default(), Arc::default()).await.err().expect("refused");
    let told = format!("{error:#}");
    assert!(told.contains("damaged.db") && told.contains(".recover"), "{told}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[tokio::test]
async fn a_postgres_server_may_be_away_at_open() {
    // Nothing listens on port 1.
    let store = open("postgres://nobody@127.0.0.1:1/db", Tuning::default(), Arc::default()).await.unwrap();
    let error = store.migrate().await.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(StoreError::Unavailable(_))), "{error:?}");
    assert!(matches!(store.ping().await, Err(StoreError::Unavailable(_))));
    let mut writer = store.writer().await.unwrap();
    let error = writer.write(&[], &LIFE, at(0)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
}

/// The first of two servers is away, then the other way round, then both.
#[tokio::test]
async fn of_several_servers_the_one_that_takes_writes_is_used() {
    let database = Database::postgres().await;
    let (before, after) = database.url.split_once('@').unwrap();
    let (host, rest) = after.split_once('/').unwrap();
    for hosts in
        [format!("127.0.0.1:1,{host}"), format!("{host},127.0.0.1:1"), format!("127.0.0.1:1,127.0.0.1:2,{host}")]
    {
        let several = Database::at(&format!("{before}@{hosts}/{rest}&target_session_attrs=read-write"));
        let store = several.store(TUNING).await;
        store.ping().await.unwrap();
        let project = project(store.as_ref(), "p").await;
        write(store.as_ref(), &[batch(project, vec![span(project, 1, 1)])]).await;
        assert_eq!(row(store.as_ref(), project, 1).await.step_count, 1);
    }
    // A query alone finds it too, if only at the second try.
    let url = format!("{before}@127.0.0.1:1,{host}/{rest}");
    let store = open(&url, TUNING, Arc::default()).await.unwrap();
    assert!(matches!(store.key("none").await, Err(StoreError::Unavailable(_))));
    assert!(store.key("none").await.unwrap().is_none());

    let away = open("postgres://me:s3cret@127.0.0.1:1,127.0.0.1:2/db", TUNING, Arc::default()).await.unwrap();
    let told = away.ping().await.unwrap_err().to_string();
    assert!(told.contains("127.0.0.1:1: ") && told.contains("127.0.0.1:2: ") && !told.contains("s3cret"), "{told}");
}

/// Another version changed the type of a column; the plans of sessions that are open do not fit any more.
#[tokio::test]
async fn a_reader_whose_plan_is_stale_gets_another_session() {
    use sqlx::Connection;
    let database = Database::postgres().await;
    let store = database.store(TUNING).await;
    let project = project(store.as_ref(), "p").await;
    write(store.as_ref(), &[batch(project, vec![span(project, 1, 1)])]).await;
    row(store.as_ref(), project, 1).await;
    let mut admin = sqlx::PgConnection::connect(&database.url).await.unwrap();
    sqlx::query("ALTER TABLE runs ALTER COLUMN name TYPE varchar").execute(&mut admin).await.unwrap();
    let error = store.run(project, uuid::Uuid::from_u128(1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert_eq!(error.code(), "0A000");
    row(store.as_ref(), project, 1).await;
}

/// As after an upgrade that was put back, and as for the replicas whose turn has not come.
async fn the_schema_of_a_later_release_does(url: &str) {
    Database::at(url).store(TUNING).await;
    sql(
        url,
        "ALTER TABLE steps ADD COLUMN of_later TEXT; \
         ALTER TABLE runs ADD COLUMN of_later INTEGER NOT NULL DEFAULT 7; \
         CREATE TABLE later (id BIGINT); \
         INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'later', TRUE, '', 0)",
    )
    .await;
    let store = Database::at(url).store(TUNING).await;
    let project = project(store.as_ref(), "p").await;
    write(store.as_ref(), &[batch(project, vec![span(project, 1, 1)])]).await;
    assert_eq!(row(store.as_ref(), project, 1).await.step_count, 1);
}
on_both_stores!(the_schema_of_a_later_release_does);

/// A migration wants a table for itself that somebody reads, as a backup does for hours.
#[tokio::test]
async fn who_reads_a_table_for_long_keeps_a_migration_waiting_and_nobody_else() {
    use sqlx::Connection;
    let database = Database::postgres().await;
    database.store(TUNING).await;
    let mut admin = sqlx::PgConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql("ALTER TABLE runs DROP COLUMN revision; DELETE FROM _sqlx_migrations WHERE version = 6")
        .execute(&mut admin)
        .await
        .unwrap();
    let mut backup = admin.begin().await.unwrap();
    sqlx::raw_sql("SELECT 1 FROM runs").execute(&mut *backup).await.unwrap();

    let store = open(&database.url, TUNING, Arc::default()).await.unwrap();
    let migrating = tokio::spawn(async move {
        let error = store.migrate().await.unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(StoreError::Unavailable(_))), "{error:?}");
        store
    });
    let mut other = sqlx::PgConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql("SET statement_timeout = '4s'").execute(&mut other).await.unwrap();
    while !migrating.is_finished() {
        sqlx::raw_sql("SELECT 1 FROM runs").execute(&mut other).await.expect("a reader waits shortly at most");
    }
    let store = migrating.await.unwrap();
    backup.rollback().await.unwrap();
    store.migrate().await.unwrap();
}

#[tokio::test]
async fn a_sqlite_file_keeps_its_content() {
    let database = Database::sqlite().await;
    let store = database.store(TUNING).await;
    let project = project(store.as_ref(), "p").await;
    write(store.as_ref(), &[batch(project, vec![span(project, 1, 1)])]).await;
    drop(store);
    let store = database.store(Tuning::default()).await;
    assert_eq!(row(store.as_ref(), project, 1).await.step_count, 1);
}

#[tokio::test]
async fn a_failed_write_leaves_nothing_and_the_writer_goes_on() {
    use sqlx::Connection;
    let database = Database::postgres().await;
    let store: std::sync::Arc<dyn Store> = database.store(TUNING).await;
    let project = project(store.as_ref(), "p").await;
    let batches = [batch(project, vec![span(project, 1, 1)])];
    let mut writer = store.writer().await.unwrap();
    writer.write(&batches.iter().collect::<Vec<_>>(), &LIFE, at(100)).await.unwrap();

    let mut admin = sqlx::PgConnection::connect(&database.url).await.unwrap();
    sqlx::query("ALTER TABLE steps RENAME TO steps_away").execute(&mut admin).await.unwrap();
    let error = writer.write(&[&batch(project, vec![span(project, 2, 1)])], &LIFE, at(100)).await.unwrap_err();
    assert!(matches!(error, StoreError::Broken(_)), "{error:?}");
    sqlx::query("ALTER TABLE steps_away RENAME TO steps").execute(&mut admin).await.unwrap();
    let written = writer.write(&[&batch(project, vec![span(project, 2, 1)])], &LIFE, at(100)).await.unwrap();
    assert_eq!(counts(&written[0]), (1, 0), "nothing of the failed write was kept");
}

/// The server ends the writer's connection: that write fails as worth another try, the next one connects anew.
#[tokio::test]
async fn a_writer_connects_again() {
    use sqlx::Connection;
    let mut database = Database::postgres().await;
    let name = format!("writer-{}", uuid::Uuid::new_v4());
    database.url.push_str(&format!("&application_name={name}"));
    let store = database.store(TUNING).await;
    let project = project(store.as_ref(), "p").await;
    let batches = [batch(project, vec![span(project, 1, 1)])];
    let mut writer = store.writer().await.unwrap();
    writer.write(&batches.iter().collect::<Vec<_>>(), &LIFE, at(100)).await.unwrap();

    let mut admin = sqlx::PgConnection::connect(&std::env::var("VECTOROS_TEST_POSTGRES").unwrap()).await.unwrap();
    sqlx::query("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = $1")
        .bind(&name)
        .execute(&mut admin)
        .await
        .unwrap();
    let error = writer.write(&batches.iter().collect::<Vec<_>>(), &LIFE, at(100)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    let written = writer.write(&batches.iter().collect::<Vec<_>>(), &LIFE, at(100)).await.unwrap();
    assert_eq!(counts(&written[0]), (0, 1));
}

#[tokio::test]
async fn a_sqlite_file_belongs_to_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let database = Database::sqlite().await;
    let store = database.store(TUNING).await;
    project(store.as_ref(), "p").await;
    let path = database.url.strip_prefix("sqlite://").unwrap();
    for file in [path.to_owned(), format!("{path}-wal"), format!("{path}-shm")] {
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
}

#[tokio::test]
async fn a_long_reader_of_a_sqlite_file_stops_writers_before_the_disk_is_full() {
    use sqlx::{Connection, SqliteConnection};
    const LOG_BYTES_MAX: u64 = 1 << 20;
    let database = Database::sqlite().await;
    let store = database.store(Tuning { sqlite_log_bytes_max: LOG_BYTES_MAX, ..TUNING }).await;
    let project = project(store.as_ref(), "p").await;
    let log = format!("{}-wal", database.url.strip_prefix("sqlite://").unwrap());
    let log_bytes = || std::fs::metadata(&log).unwrap().len();
    let mut writer = store.writer().await.unwrap();

    let mut reader = SqliteConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT COUNT(*) FROM steps").execute(&mut reader).await.unwrap();
    let (mut before, mut trace) = (0, 0);
    let error = loop {
        trace += 1;
        assert!(trace < 1000, "the log has {} bytes", log_bytes());
        let steps = (1..=20).map(|number| span(project, trace, number)).collect();
        match writer.write(&[&batch(project, steps)], &LIFE, at(100)).await {
            Ok(_) => before = log_bytes(),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Unavailable(_)) && error.to_string().contains("sqlite_log_bytes"), "{error}");
    assert!(before > LOG_BYTES_MAX, "taken up to the bound, not only {before} bytes");
    assert!(matches!(store.ping().await, Err(StoreError::Unavailable(_))), "not ready");
    assert_eq!(log_bytes(), before, "nothing was written any more");

    sqlx::raw_sql("ROLLBACK").execute(&mut reader).await.unwrap();
    writer.write(&[&batch(project, vec![span(project, trace, 1)])], &LIFE, at(100)).await.unwrap();
    assert!(log_bytes() < LOG_BYTES_MAX / 2, "the log was emptied");
    assert_eq!(row(store.as_ref(), project, trace - 1).await.step_count, 20);
}

#[tokio::test]
async fn a_sqlite_file_is_served_by_one_process_and_a_server_by_many() {
    let database = Database::sqlite().await;
    let (first, second) = (database.store(TUNING).await, database.store(TUNING).await);
    first.claim().unwrap();
    first.claim().unwrap();
    let refused = second.claim().unwrap_err().to_string();
    assert!(refused.contains("another collector"), "{refused}");
    drop(first);
    second.claim().unwrap();

    let database = Database::postgres().await;
    let (first, second) = (database.store(TUNING).await, database.store(TUNING).await);
    first.claim().unwrap();
    second.claim().unwrap();
}
