//! The native way in: `POST /runs`, `POST /runs/batch`, `POST /runs/{run_id}/steps`. Answers are JSON.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body as HttpBody;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::admission::Charge;
use crate::model::batch::{Native, NativeOutcome, Rejections};
use crate::model::key::Scope;
use crate::model::step::Step;
use crate::native::{self, BatchForm, Fault, Unreadable};
use crate::pipeline::{NATIVE_QUOTA_HOLD, NativeRequest, Outcome, Pipeline, Refusal};
use crate::receiver::body::{compression_of, json_of, read};
use crate::receiver::status::{add_rate_limits, json_detail, json_refusal};
use crate::receiver::{count_refused, refused};
use crate::spool::{Content, Kept};
use crate::telemetry::Transport;
use crate::view::ShownRun;

/// Pause before a run that is stored is read again.
const READ_AGAIN: Duration = Duration::from_millis(50);

/// A native request that did not succeed.
enum Failure {
    Refused(Refusal),
    Faults(Vec<Fault>),
    Conflict(Uuid),
    /// Steps came for a run that takes no more.
    Finished(Uuid),
    NotFound,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        Failure::Refused(refusal)
    }
}

pub async fn submit(State(pipeline): State<Arc<Pipeline>>, request: Request) -> Response {
    answer(&pipeline, request, async |_, incoming| {
        let body = incoming.json()?;
        submit_one(&pipeline, incoming, &body, Way::Alone).await
    })
    .await
}

/// Answers 200 with one result for each run, in order: a bad run never costs its neighbours. Batches are not kept in the
/// spool: each run of them has an answer of its own.
pub async fn submit_batch(State(pipeline): State<Arc<Pipeline>>, request: Request) -> Response {
    answer(&pipeline, request, async |head, incoming| {
        let bodies = native::split_batch(&incoming.bytes, incoming.form).map_err(|unreadable| match unreadable {
            Unreadable::NotJson(why) => Failure::Refused(Refusal::Malformed(format!("the body is not JSON: {why}"))),
            Unreadable::Faults(faults) => Failure::Faults(faults),
        })?;
        let mut results = Vec::with_capacity(bodies.len());
        let mut rejections = Rejections::default();
        for (place, body) in bodies.into_iter().enumerate() {
            let result = match body {
                Ok(body) => submit_one(&pipeline, incoming, &body, Way::InBatch).await,
                Err(fault) => Err(Failure::Faults(vec![fault])),
            };
            match &result {
                Err(Failure::Faults(faults)) => {
                    rejections.add("invalid_run", || (format!("runs[{place}]"), first_of(faults)));
                }
                Err(Failure::Refused(refusal)) => refused(&pipeline, Transport::Native, refusal, head),
                _ => {}
            }
            results.push(match result {
                Ok((status, run)) => BatchResult { status: status.as_u16(), run: Some(run), detail: None },
                Err(failure) => {
                    let (status, mut body) = described(&failure);
                    BatchResult { status: status.as_u16(), run: None, detail: Some(body["detail"].take()) }
                }
            });
        }
        pipeline
            .settle_native(&incoming.charge.key, rejections, &incoming.request, Instant::now() + pipeline.hold)
            .await?;
        Ok((StatusCode::OK, BatchResults { results }))
    })
    .await
}

pub async fn append_steps(
    State(pipeline): State<Arc<Pipeline>>,
    Path(run_id): Path<String>,
    request: Request,
) -> Response {
    answer(&pipeline, request, async |_, incoming| {
        let body = incoming.json()?;
        // An id that cannot exist answers like one that does not.
        let run_id = Uuid::parse_str(&run_id).map_err(|_| Failure::NotFound)?;
        let steps =
            native::appended_steps(incoming.charge.key.project, run_id, &body, Utc::now()).map_err(Failure::Faults)?;
        store(&pipeline, incoming, Native::Append { run_id }, run_id, steps, None)
            .await?
            .ok_or_else(|| Refusal::Busy.into())
    })
    .await
}

/// Receives a request, lets `work` do what it asks for, and answers.
async fn answer<T: Serialize>(
    pipeline: &Pipeline,
    request: Request,
    work: impl AsyncFnOnce(&Parts, &mut Incoming) -> Result<(StatusCode, T), Failure>,
) -> Response {
    let (head, body) = request.into_parts();
    let mut standings = Vec::new();
    let done = match receive(pipeline, &head, body).await {
        Ok(mut incoming) => {
            let done = work(&head, &mut incoming).await;
            standings = incoming.charge.standings();
            incoming.charge.settle();
            done
        }
        Err(failure) => Err(failure),
    };
    let mut response = match done {
        Ok((status, body)) => (status, axum::Json(body)).into_response(),
        Err(Failure::Refused(refusal)) => {
            refused(pipeline, Transport::Native, &refusal, &head);
            json_refusal(&refusal)
        }
        Err(failure) => {
            let (status, body) = described(&failure);
            let (reason, detail) = told(&failure);
            count_refused(pipeline, Transport::Native, status, reason, &detail, &head);
            (status, axum::Json(body)).into_response()
        }
    };
    add_rate_limits(&mut response, &standings);
    response
}

#[derive(Serialize)]
struct BatchResults {
    results: Vec<BatchResult>,
}

/// What became of one run of a batch: the stored run, or why it was not stored.
#[derive(Serialize)]
struct BatchResult {
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<Value>,
}

/// How a run came.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Alone,
    InBatch,
}

/// 200 with the run as it is stored; 202 with the run as it was sent when it is kept until the database is there.
async fn submit_one(
    pipeline: &Pipeline,
    incoming: &mut Incoming,
    body: &Value,
    way: Way,
) -> Result<(StatusCode, Box<RawValue>), Failure> {
    let (project, now) = (incoming.charge.key.project, Utc::now());
    let submission = native::submission(project, body, Uuid::now_v7(), now).map_err(Failure::Faults)?;
    let run_id = submission.run_id;
    let native = Native::Submit { run_id, declared: Box::new(submission.declared) };
    let spare = if way == Way::Alone { incoming.spare(pipeline, run_id) } else { None };
    if let Some(stored) = store(pipeline, incoming, native, run_id, submission.steps, spare).await? {
        return Ok(stored);
    }
    let submission = native::submission(project, body, run_id, now).map_err(Failure::Faults)?;
    Ok((StatusCode::ACCEPTED, shown(pipeline.reader.unstored(project, submission, now))?))
}

/// Stores, then answers with the run as it now stands in the store; `None` when that cannot be read, because the run is kept
/// in the spool for a time in which the database is away.
async fn store(
    pipeline: &Pipeline,
    incoming: &mut Incoming,
    native: Native,
    run_id: Uuid,
    steps: Vec<Step>,
    spare: Option<Kept>,
) -> Result<Option<(StatusCode, Box<RawValue>)>, Failure> {
    let deadline = Instant::now() + pipeline.hold;
    let has_spare = spare.is_some();
    let is_append = matches!(native, Native::Append { .. });
    let Outcome { native, rejections, is_kept, .. } =
        pipeline.consume_native(&mut incoming.charge, native, steps, &incoming.request, spare, deadline).await?;
    if is_kept {
        return Ok(None);
    }
    if let Some(example) = rejections.first.first() {
        return Err(
            Refusal::Malformed(format!("the run cannot be stored: {}: {}", example.place, example.reason)).into()
        );
    }
    match native {
        Some(NativeOutcome::Conflict) if is_append => Err(Failure::Finished(run_id)),
        Some(NativeOutcome::Conflict) => Err(Failure::Conflict(run_id)),
        Some(NativeOutcome::NotFound) => Err(Failure::NotFound),
        Some(NativeOutcome::Created | NativeOutcome::Unchanged | NativeOutcome::Updated) | None => {
            let stored = loop {
                match pipeline.reader.run(incoming.charge.key.project, run_id, Utc::now()).await {
                    // The database went away after the commit, and a restart is over before the deadline.
                    Err(_) if !has_spare && Instant::now() + READ_AGAIN < deadline => {
                        tokio::time::sleep(READ_AGAIN).await;
                    }
                    stored => break stored,
                }
            };
            match stored {
                Ok(run) => Ok(Some((StatusCode::OK, shown(run.ok_or(Failure::NotFound)?)?))),
                // It went away after the commit.
                Err(_) if has_spare => Ok(None),
                // Stored, but not readable this moment: the sender may ask again, which changes nothing.
                Err(_) => Err(Refusal::Busy.into()),
            }
        }
    }
}

fn shown(run: ShownRun) -> Result<Box<RawValue>, Refusal> {
    run.native_json().map_err(|error| Refusal::Malformed(format!("the run cannot be shown: {error}")))
}

struct Incoming {
    charge: Charge,
    bytes: bytes::Bytes,
    request: NativeRequest,
    form: BatchForm,
}

impl Incoming {
    /// What goes into the spool instead, when the body is one run.
    fn spare(&self, pipeline: &Pipeline, run_id: Uuid) -> Option<Kept> {
        let (content, bytes) = (Content::Run(run_id), self.bytes.clone());
        pipeline.spare(&self.charge.key, content, Transport::Native, self.request.sent_bytes, bytes)
    }

    fn json(&self) -> Result<Value, Failure> {
        Ok(json_of(&self.bytes)?)
    }
}

async fn receive(pipeline: &Pipeline, head: &Parts, body: HttpBody) -> Result<Incoming, Failure> {
    let deadline = Instant::now() + pipeline.hold;
    let key = pipeline.authenticate(head, Scope::Ingest).await?;
    let form = form_of(&head.headers)?;
    let compression = compression_of(&head.headers)?;
    let mut charge = pipeline.admit_native(key).await?;
    let body = read(pipeline, &head.headers, body, compression, deadline).await?;
    charge.bytes(body.sent_bytes, Instant::now() + NATIVE_QUOTA_HOLD).await.map_err(Refusal::from)?;
    let request = NativeRequest::new(body.bytes.len() as u64, body.sent_bytes);
    Ok(Incoming { charge, bytes: body.bytes, request, form })
}

fn form_of(headers: &HeaderMap) -> Result<BatchForm, Refusal> {
    // Clients that name no type send JSON.
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(BatchForm::Object) };
    let media_type =
        value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match media_type.as_str() {
        "application/json" => Ok(BatchForm::Object),
        "application/x-ndjson" | "application/jsonl" => Ok(BatchForm::Lines),
        _ => Err(Refusal::Unsupported("send Content-Type: application/json".into())),
    }
}

/// Reason and detail of a request that the pipeline did not refuse, for the accounts.
fn told(failure: &Failure) -> (&'static str, String) {
    match failure {
        Failure::Faults(faults) => ("invalid_run", first_of(faults)),
        Failure::Conflict(run_id) | Failure::Finished(run_id) => ("conflict", format!("run {run_id} is not running")),
        Failure::NotFound => ("unknown_run", "Run not found".to_owned()),
        Failure::Refused(refusal) => ("malformed", refusal.to_string()),
    }
}

fn first_of(faults: &[Fault]) -> String {
    faults.first().map(|fault| fault.msg.clone()).unwrap_or_default()
}

fn described(failure: &Failure) -> (StatusCode, Value) {
    match failure {
        Failure::Refused(refusal) => json_detail(refusal),
        Failure::Faults(faults) => (StatusCode::UNPROCESSABLE_ENTITY, json!({"detail": faults})),
        Failure::Conflict(run_id) => {
            let detail = format!("run {run_id} exists with other content and is not running: send a new run_id");
            (StatusCode::CONFLICT, json!({"detail": detail}))
        }
        Failure::Finished(run_id) => {
            let detail = format!("run {run_id} is not running: only a running run takes more steps");
            (StatusCode::CONFLICT, json!({"detail": detail}))
        }
        Failure::NotFound => (StatusCode::NOT_FOUND, json!({"detail": "Run not found"})),
    }
}
