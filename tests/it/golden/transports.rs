//! Every fixture as protobuf and as JSON over HTTP and as protobuf over gRPC, through one real collector: one answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use prost::Message;
use serde_json::Value;
use tonic::transport::Channel;
use vectoros::auth::{hash, secret};
use vectoros::model::key::Scopes;
use vectoros::model::quota::Quota;
use vectoros::prices::Prices;
use vectoros::store::{NewKey, Store, Tuning, open};

use super::fixture::{Fixture, Request, Signal};
use super::{known_wrong, truth};
use crate::collector::{Collector, PATIENCE};
use crate::database::on_both_stores;

/// Short, so that nothing is waited for that will not come.
const LIFE: [(&str, &str); 3] =
    [("VECTOROS_RUNS__SETTLE", "200ms"), ("VECTOROS_RUNS__ORPHAN_IDLE", "1s"), ("VECTOROS_RUNS__IDLE_LIMIT", "3s")];

#[derive(Clone, Copy, Debug)]
enum Transport {
    Protobuf,
    Json,
    Grpc,
}

const TRANSPORTS: [Transport; 3] = [Transport::Protobuf, Transport::Json, Transport::Grpc];

async fn every_fixture_by_every_transport(url: &str) {
    let collector = Collector::start(url, &LIFE).await;
    let store = open(url, Tuning::default(), Arc::new(Prices::none())).await.unwrap();
    let grpc = Channel::from_shared(format!("http://{}", collector.grpc)).unwrap().connect().await.unwrap();
    let fixtures = Fixture::all();
    assert!(fixtures.len() >= 120, "{} fixtures", fixtures.len());
    let mut sent = Vec::new();
    for fixture in &fixtures {
        let mut keys = Vec::new();
        for transport in TRANSPORTS {
            let key = new_key(store.as_ref(), &format!("{}/{transport:?}", fixture.name)).await;
            for request in &fixture.requests {
                send(&collector, &grpc, transport, &key, request).await;
            }
            keys.push(key);
        }
        sent.push((fixture, keys));
    }
    let end = Instant::now() + PATIENCE;
    for (fixture, keys) in sent {
        loop {
            let mut answers = Vec::new();
            for key in &keys {
                answers.push(listed(&collector, key).await);
            }
            let wrong = truth::facts(&fixture.expected, &answers[0]).iter().filter(|fact| !fact.right).count();
            let is_same = answers.iter().all(|answer| *answer == answers[0]);
            if is_same && wrong == known_wrong(&fixture.name) {
                break;
            }
            assert!(Instant::now() < end, "{}: same by all transports: {is_same}, {wrong} wrong facts", fixture.name);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
on_both_stores!(every_fixture_by_every_transport);

async fn new_key(store: &dyn Store, project: &str) -> String {
    let (key, id) = secret::generate();
    let new = NewKey {
        id,
        name: None,
        project: store.project(project, Utc::now()).await.unwrap(),
        scopes: "ingest,read".parse::<Scopes>().unwrap(),
        quota: Quota::default(),
        secret_hash: hash(&key),
        expires_at: None,
    };
    store.add_key(new, Utc::now()).await.unwrap();
    key
}

async fn send(collector: &Collector, grpc: &Channel, transport: Transport, key: &str, request: &Request) {
    let (content_type, body) = match transport {
        Transport::Protobuf => ("application/x-protobuf", request.protobuf.clone()),
        Transport::Json => ("application/json", request.json.clone()),
        Transport::Grpc => return send_grpc(grpc.clone(), key, request).await,
    };
    let url = collector.url(request.signal.path());
    let post = collector.client().post(url).bearer_auth(key).header("content-type", content_type).body(body);
    let response = post.send().await.unwrap();
    assert_eq!(response.status(), 200);
    let empty = if content_type == "application/json" { "{}" } else { "" };
    assert_eq!(response.text().await.unwrap(), empty, "taken in full");
}

async fn send_grpc(channel: Channel, key: &str, request: &Request) {
    fn with_key<M: Message + Default>(body: &[u8], key: &str) -> tonic::Request<M> {
        let mut request = tonic::Request::new(M::decode(body).unwrap());
        request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
        request
    }
    let body = request.protobuf.as_slice();
    let rejected = match request.signal {
        Signal::Traces => {
            let answer = TraceServiceClient::new(channel).export(with_key(body, key)).await.unwrap();
            answer.into_inner().partial_success.is_some()
        }
        Signal::Logs => {
            let answer = LogsServiceClient::new(channel).export(with_key(body, key)).await.unwrap();
            answer.into_inner().partial_success.is_some()
        }
        Signal::Metrics => {
            let answer = MetricsServiceClient::new(channel).export(with_key(body, key)).await.unwrap();
            answer.into_inner().partial_success.is_some()
        }
    };
    assert!(!rejected, "taken in full");
}

/// The runs in the list, each as it is shown, without what names the time of its arrival.
async fn listed(collector: &Collector, key: &str) -> Vec<Value> {
    let (status, list) = collector.get_with(key, "/runs?limit=100").await;
    assert_eq!(status, 200);
    let mut details = Vec::new();
    for item in list["items"].as_array().unwrap() {
        let (status, mut detail) =
            collector.get_with(key, &format!("/runs/{}", item["run_id"].as_str().unwrap())).await;
        assert_eq!(status, 200);
        for field in ["created_at", "updated_at"] {
            detail["run"].as_object_mut().unwrap().remove(field);
        }
        // Whether a request came before or after the run had settled is a matter of the machine's speed.
        if let Some(metadata) = detail["run"]["metadata"].as_object_mut() {
            metadata.remove("revision");
        }
        details.push(detail);
    }
    details
}
