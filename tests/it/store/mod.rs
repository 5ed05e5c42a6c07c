//! The contract of [`vectoros::store::Store`]: every behaviour as a plain function, run on both databases.

pub mod samples;

mod concurrency;
mod copies;
mod huge;
mod keys;
mod life_cycle;
mod logs;
mod native;
mod opening;
mod order;
mod partitions;
mod parts;
mod reads;
mod receipts;
mod remap;
mod statements;
mod steps;

/// Each function as a test on SQLite and on Postgres.
macro_rules! on_both {
    ($($behaviour:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                let database = crate::database::Database::sqlite().await;
                let store = database.store($crate::store::samples::TUNING).await;
                super::$behaviour(store.as_ref()).await;
            })*
        }

        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                let database = crate::database::Database::postgres().await;
                let store = database.store($crate::store::samples::TUNING).await;
                super::$behaviour(store.as_ref()).await;
            })*
        }
    };
}
pub(crate) use on_both;
