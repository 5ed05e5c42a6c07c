//! A fixture through decoding, mapping and a store of its own, read back as the API shows it.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use vectoros::assembly::{LifeCycle, Scopes};
use vectoros::mapping::{map_logs, map_traces};
use vectoros::model::batch::Batch;
use vectoros::model::id::ProjectId;
use vectoros::model::query::RunFilter;
use vectoros::otlp::{DecodeLimits, json, protobuf};
use vectoros::prices::Prices;
use vectoros::store::{Store, Tuning, open};
use vectoros::view::Reader;

use super::fixture::{Fixture, Request, Signal};
use crate::database::Database;

const LIMITS: DecodeLimits = DecodeLimits { spans_max: 100_000, span_items_max: 100_000, depth_max: 64 };

const SECOND: Duration = Duration::from_secs(1);
const LIFE: LifeCycle = LifeCycle {
    settle: SECOND,
    orphan_idle: SECOND,
    idle_limit: SECOND,
    max_duration: Duration::from_secs(86_400),
    unmatched_logs: Duration::from_secs(3_600),
    scopes: Scopes { genai_root: false, genai_root_services: Vec::new() },
};

/// What the API shows of a fixture long after its last request, in the order in which the runs began: runs in the list
/// first, then the copies of calls that the list leaves out.
pub async fn shown(fixture: &Fixture) -> Vec<Value> {
    let database = Database::sqlite().await;
    let prices = Arc::new(Prices::shipped());
    let store = open(&database.url, Tuning::default(), prices.clone()).await.unwrap();
    store.migrate().await.unwrap();
    let received_at = Utc::now();
    let project = store.project("golden", received_at).await.unwrap();
    let mut writer = store.writer().await.unwrap();
    for request in fixture.requests.iter().filter(|request| request.signal != Signal::Metrics) {
        let batch = match request.signal {
            Signal::Logs => decoded_logs(project, request, received_at),
            _ => decoded(project, request, received_at, &prices),
        };
        writer.write(&[&batch], &LIFE, received_at).await.unwrap();
    }
    let later = received_at + TimeDelta::hours(1);
    while store.sweep(&LIFE, later, 100).await.unwrap() > 0 {}
    listed(store, project, later).await
}

fn decoded(project: ProjectId, sent: &Request, received_at: DateTime<Utc>, prices: &Prices) -> Batch {
    let request = protobuf::decode_traces(&sent.protobuf, LIMITS).unwrap();
    assert!(request == json::decode_traces(&sent.json, LIMITS).unwrap(), "protobuf and JSON say different things");
    assert_eq!(request.rejections.count, 0, "{:?}", request.rejections);
    let (steps, origins) = map_traces(project, request.groups, received_at, prices);
    Batch { project, received_at, origins, steps, logs: vec![], native: None, receipt: Default::default() }
}

fn decoded_logs(project: ProjectId, sent: &Request, received_at: DateTime<Utc>) -> Batch {
    let request = protobuf::decode_logs(&sent.protobuf, LIMITS).unwrap();
    assert!(request == json::decode_logs(&sent.json, LIMITS).unwrap(), "protobuf and JSON say different things");
    assert_eq!(request.rejections.count, 0, "{:?}", request.rejections);
    let (logs, origins) = map_logs(project, request.groups, received_at);
    Batch { project, received_at, origins, steps: vec![], logs, native: None, receipt: Default::default() }
}

async fn listed(store: Arc<dyn Store>, project: ProjectId, now: DateTime<Utc>) -> Vec<Value> {
    let filter = RunFilter { limit: 100, after: None, status: None, model: None };
    let mut page = store.runs(project, &filter).await.unwrap();
    page.runs.sort_by_key(|run| (run.started_at, run.key.run_id));
    let reader = Reader::new(store, LIFE);
    let mut details = Vec::new();
    for run in &page.runs {
        let shown = reader.run(project, run.key.run_id, now).await.unwrap().unwrap();
        details.push(serde_json::from_str(shown.detail_json().unwrap().get()).unwrap());
    }
    details
}
