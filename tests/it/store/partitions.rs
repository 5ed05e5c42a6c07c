//! Day partitions on Postgres.

use chrono::{Days, NaiveDate, Utc};
use sqlx::{Connection, PgConnection};
use vectoros::model::step::Step;

use super::samples::*;
use crate::database::Database;

async fn partitions(connection: &mut PgConnection) -> Vec<String> {
    let names = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'steps'::regclass ORDER BY 1";
    sqlx::query_scalar(names).fetch_all(connection).await.unwrap()
}

/// The partition in which each step of a project lies.
async fn places(connection: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar("SELECT tableoid::regclass::text FROM steps ORDER BY day").fetch_all(connection).await.unwrap()
}

fn name(day: NaiveDate) -> String {
    format!("steps_{}", day.format("%Y%m%d"))
}

#[tokio::test]
async fn days_around_today_have_partitions_and_the_default_takes_the_rest() {
    let database = Database::postgres().await;
    let store = database.store(TUNING).await;
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    let today = Utc::now().date_naive();
    let names = partitions(&mut connection).await;
    assert_eq!(names.len(), 12, "{names:?}");
    for day in [today - Days::new(7), today, today + Days::new(3)] {
        assert!(names.contains(&name(day)), "{day} in {names:?}");
    }

    let project = project(store.as_ref(), "p").await;
    let on = |number, day| Step { day, ..span(project, 1, number) };
    let far = today + Days::new(400);
    let long_ago = today - Days::new(400);
    write(store.as_ref(), &[batch(project, vec![on(1, today), on(2, far), on(3, long_ago)])]).await;
    assert_eq!(places(&mut connection).await, ["steps_default", &name(today), "steps_default"]);
    let found = stored(store.as_ref(), project, 1).await;
    assert_eq!(found.steps.len(), 3);
    assert_eq!((found.run.first_day, found.run.last_day), (long_ago, far));
}

#[tokio::test]
async fn a_new_partition_takes_over_what_the_default_held() {
    let database = Database::postgres().await;
    let store = database.store(TUNING).await;
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    let project = project(store.as_ref(), "p").await;
    let day = Utc::now().date_naive() + Days::new(30);
    let batches = [batch(project, vec![Step { day, ..span(project, 1, 1) }])];
    write(store.as_ref(), &batches).await;
    assert_eq!(places(&mut connection).await, ["steps_default"]);

    let (one, other) = tokio::join!(store.make_partitions(day), store.make_partitions(day));
    one.and(other).expect("replicas do not get in each other's way");
    assert_eq!(places(&mut connection).await, [name(day)]);
    assert_eq!(counts(&write(store.as_ref(), &batches).await[0]), (0, 1));
}

#[tokio::test]
async fn wide_columns_are_compressed_by_lz4_in_every_partition() {
    let database = Database::postgres().await;
    database.store(TUNING).await;
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    let table = name(Utc::now().date_naive());
    let methods: Vec<i8> = sqlx::query_scalar(
        "SELECT attcompression FROM pg_attribute WHERE attrelid = $1::regclass AND attname IN ('input', 'detail')",
    )
    .bind(table)
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let lz4 = i8::try_from(b'l').unwrap();
    assert_eq!(methods, [lz4, lz4]);
}
