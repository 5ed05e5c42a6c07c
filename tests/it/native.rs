//! The contract of `POST /runs`, rule by rule, over a socket.

use rstest::rstest;
use serde_json::{Value, json};

use crate::collector::{Collector, OWN_FILE};
use crate::database::on_both_stores;

/// A collector on a database of its own, for rules that no store has a part in.
async fn collector() -> Collector {
    Collector::start(OWN_FILE, &[]).await
}

fn run() -> Value {
    json!({"model": "gpt-4o-mini", "input": "Hello", "status": "success"})
}

fn run_with(field: &str, value: Value) -> Value {
    let mut run = run();
    run[field] = value;
    run
}

/// `loc` and `type` of every fault of a 422.
fn faults(answer: &(u16, Value)) -> Vec<(Value, String)> {
    assert_eq!(answer.0, 422, "{:#}", answer.1);
    let detail = answer.1["detail"].as_array().unwrap();
    for fault in detail {
        assert!(fault["msg"].is_string() && fault.get("input").is_some(), "{fault}");
    }
    detail.iter().map(|fault| (fault["loc"].clone(), fault["type"].as_str().unwrap().to_owned())).collect()
}

#[tokio::test]
async fn the_answer_is_the_stored_run() {
    let collector = collector().await;
    let body = json!({
        "run_id": "0193A0E4-0000-7000-8000-0000000000AB", "model": "  gpt-4o ", "input": " Hi\n", "output": "Hello ", "tokens": "12",
        "cost": 0.0123, "latency": 1.5, "status": "SUCCESS", "error": " ", "steps": {"type": "tool", "name": "search"},
        "name": "greeting", "agent": "greeter", "session_id": "s1", "user_id": "u1", "tags": ["a", "b"], "metadata": {"k": 1},
        "input_tokens": 10, "output_tokens": 2.0,
    });
    let (status, stored) = collector.post("/runs", &body).await;
    assert_eq!(status, 200, "{stored:#}");
    let wanted = json!({
        "run_id": "0193a0e4-0000-7000-8000-0000000000ab", "model": "gpt-4o", "input": " Hi\n", "output": "Hello ", "tokens": 12,
        "cost": 0.0123, "latency": 1.5, "status": "success", "error": null,
        "name": "greeting", "agent": "greeter", "session_id": "s1", "user_id": "u1", "tags": ["a", "b"], "metadata": {"k": 1},
        "input_tokens": 10, "output_tokens": 2,
    });
    for (field, value) in wanted.as_object().unwrap() {
        assert_eq!(&stored[field], value, "{field}");
    }
    assert_eq!(stored["steps"][0]["type"], "tool");
    assert_eq!(stored["steps"][0]["name"], "search");
    for time in ["created_at", "started_at"] {
        let text = stored[time].as_str().unwrap();
        assert!(text.len() == 27 && text.ends_with('Z'), "microseconds in UTC: {text}");
    }
}

async fn what_was_posted_is_read_back(url: &str) {
    let collector = Collector::start(url, &[]).await;
    let body = json!({"model": "m", "input": "q", "output": "a", "tokens": 7, "status": "error", "error": "it broke",
        "steps": [{"type": "agent", "children": [{"type": "tool", "latency": 20, "own": [1, 2]}]}]});
    let (_, stored) = collector.post("/runs", &body).await;
    let (status, detail) = collector.get(&format!("/runs/{}", stored["run_id"].as_str().unwrap())).await;
    assert_eq!(status, 200);
    assert_eq!(detail["run"]["source"], "native");
    assert_eq!((&detail["run"]["tokens"], &detail["run"]["error"]), (&json!(7), &json!("it broke")));
    let tool = &detail["tree"][0]["children"][0];
    assert_eq!((&tool["latency_ms"], &tool["metadata"]["own"]), (&json!(20.0), &json!([1, 2])), "{detail:#}");
    let (_, list) = collector.get("/runs?status=error&model=m").await;
    assert_eq!(list["items"][0]["run_id"], stored["run_id"]);
    assert_eq!(collector.get("/runs?status=running").await.1["items"], json!([]));
}
on_both_stores!(what_was_posted_is_read_back);

#[rstest]
#[case::model_absent(json!({"input": "x", "status": "success"}), json!(["body", "model"]))]
#[case::model_blank(run_with("model", json!("  ")), json!(["body", "model"]))]
#[case::model_null(run_with("model", json!(null)), json!(["body", "model"]))]
#[case::model_number(run_with("model", json!(4)), json!(["body", "model"]))]
#[case::input_absent(json!({"model": "m", "status": "success"}), json!(["body", "input"]))]
#[case::input_null(run_with("input", json!(null)), json!(["body", "input"]))]
#[case::output_number(run_with("output", json!(1)), json!(["body", "output"]))]
#[case::tokens_negative(run_with("tokens", json!(-1)), json!(["body", "tokens"]))]
#[case::tokens_fraction(run_with("tokens", json!(1.5)), json!(["body", "tokens"]))]
#[case::tokens_bool(run_with("tokens", json!(true)), json!(["body", "tokens"]))]
#[case::tokens_word(run_with("tokens", json!("many")), json!(["body", "tokens"]))]
#[case::tokens_beyond_64_bit(run_with("tokens", json!("9223372036854775808")), json!(["body", "tokens"]))]
#[case::cost_negative(run_with("cost", json!(-0.1)), json!(["body", "cost"]))]
#[case::cost_word(run_with("cost", json!("NaN")), json!(["body", "cost"]))]
#[case::latency_negative(run_with("latency", json!(-1)), json!(["body", "latency"]))]
#[case::latency_infinite(run_with("latency", json!("inf")), json!(["body", "latency"]))]
#[case::status_absent(json!({"model": "m", "input": "x"}), json!(["body", "status"]))]
#[case::status_other(run_with("status", json!("done")), json!(["body", "status"]))]
#[case::error_missing(run_with("status", json!("error")), json!(["body", "error"]))]
#[case::error_too_many(run_with("error", json!("oops")), json!(["body", "error"]))]
#[case::run_id(run_with("run_id", json!("not-a-uuid")), json!(["body", "run_id"]))]
#[case::unknown_field(run_with("colour", json!("red")), json!(["body", "colour"]))]
#[case::created_at(run_with("created_at", json!("2026-01-01T00:00:00Z")), json!(["body", "created_at"]))]
#[case::started_at(run_with("started_at", json!("2026-01-01T00:00:00Z")), json!(["body", "started_at"]))]
#[case::steps_number(run_with("steps", json!(5)), json!(["body", "steps"]))]
#[case::step_no_object(run_with("steps", json!([1])), json!(["body", "steps", 0]))]
#[case::step_metadata(run_with("steps", json!([{"metadata": 1}])), json!(["body", "steps", 0, "metadata"]))]
#[case::deep_step(run_with("steps", json!([{"children": [{"tokens": -1}]}])), json!(["body", "steps", 0, "children", 0, "tokens"]))]
#[tokio::test]
async fn a_broken_rule_is_named_with_its_place(#[case] body: Value, #[case] place: Value) {
    let collector = collector().await;
    let answer = collector.post("/runs", &body).await;
    assert!(faults(&answer).iter().any(|(loc, _)| *loc == place), "{:#}", answer.1);
}

#[tokio::test]
async fn all_faults_are_found_and_not_only_the_first() {
    let collector = collector().await;
    let body =
        json!({"tokens": -1, "cost": -1, "latency": "x", "status": "no", "colour": 1, "steps": [{"tokens": -1}, 7]});
    let places: Vec<Value> = faults(&collector.post("/runs", &body).await).into_iter().map(|(loc, _)| loc).collect();
    for place in [
        json!(["body", "model"]),
        json!(["body", "input"]),
        json!(["body", "tokens"]),
        json!(["body", "cost"]),
        json!(["body", "latency"]),
        json!(["body", "status"]),
        json!(["body", "colour"]),
        json!(["body", "steps", 0, "tokens"]),
        json!(["body", "steps", 1]),
    ] {
        assert!(places.contains(&place), "{place} is not among {places:?}");
    }
}

#[rstest]
#[case::input_empty(run_with("input", json!("")), "input", json!(""))]
#[case::input_kept_byte_for_byte(run_with("input", json!(" \n\tü💡 ")), "input", json!(" \n\tü💡 "))]
#[case::output_null(run_with("output", json!(null)), "output", json!(null))]
#[case::tokens_zero(run_with("tokens", json!(0)), "tokens", json!(0))]
#[case::tokens_integral(run_with("tokens", json!(5.0)), "tokens", json!(5))]
#[case::tokens_text(run_with("tokens", json!("5")), "tokens", json!(5))]
#[case::tokens_64_bit(run_with("tokens", json!(i64::MAX)), "tokens", json!(i64::MAX))]
#[case::cost_exact(run_with("cost", json!(0.1)), "cost", json!(0.1))]
#[case::status_upper(run_with("status", json!("Timeout")), "status", json!("timeout"))]
#[case::error_blank(run_with("error", json!("  ")), "error", json!(null))]
#[case::steps_null(run_with("steps", json!(null)), "steps", json!([]))]
#[case::steps_text(run_with("steps", json!("")), "steps", json!([]))]
#[case::steps_object_empty(run_with("steps", json!({})), "steps", json!([]))]
#[tokio::test]
async fn what_is_allowed_is_normalised(#[case] body: Value, #[case] field: &str, #[case] value: Value) {
    let collector = collector().await;
    let (status, stored) = collector.post("/runs", &body).await;
    assert_eq!((status, &stored[field]), (200, &value), "{stored:#}");
}

#[tokio::test]
async fn steps_are_normalised_at_every_depth() {
    let collector = collector().await;
    let steps = json!([
        {"name": "outer", "latency": 5, "extra": true, "children": {"type": 7, "children": [{"type": "tool", "tokens": "3", "model": "m"}]}},
        {"id": "b", "parent_id": "s", "name": "by parent"},
        {"id": "s"},
    ]);
    let (status, stored) = collector.post("/runs", &run_with("steps", steps)).await;
    assert_eq!(status, 200, "{stored:#}");
    let outer = &stored["steps"][0];
    assert_eq!(
        (&outer["type"], &outer["latency_ms"], &outer["metadata"]["extra"]),
        (&json!("unknown"), &json!(5.0), &json!(true))
    );
    assert_eq!(outer["children"][0]["type"], "7");
    let deepest = &outer["children"][0]["children"][0];
    assert_eq!((&deepest["tokens"], &deepest["model"], &deepest["metadata"]), (&json!(3), &json!("m"), &json!({})));
    assert_eq!(stored["steps"][1]["id"], "s");
    assert_eq!(stored["steps"][1]["children"][0]["name"], "by parent");
}

#[rstest]
#[case::twice(json!([{"id": "a"}, {"id": "a"}]))]
#[case::unknown_parent(json!([{"id": "a", "parent_id": "nobody"}]))]
#[case::cycle(json!([{"id": "a", "parent_id": "b"}, {"id": "b", "parent_id": "a"}]))]
#[case::own_parent(json!([{"id": "a", "parent_id": "a"}]))]
#[tokio::test]
async fn ids_that_make_no_tree_are_refused(#[case] steps: Value) {
    let collector = collector().await;
    assert!(!faults(&collector.post("/runs", &run_with("steps", steps)).await).is_empty());
}

async fn a_resend_is_idempotent_and_a_change_is_a_conflict(url: &str) {
    let collector = Collector::start(url, &[]).await;
    let mut body = run_with("run_id", json!("0193a0e4-0000-7000-8000-000000000001"));
    body["steps"] = json!([{"type": "tool"}, {"type": "tool", "children": [{}]}]);
    let (first_status, first) = collector.post("/runs", &body).await;
    let (second_status, second) = collector.post("/runs/", &body).await;
    assert_eq!((first_status, second_status), (200, 200));
    assert_eq!(first, second, "nothing changes, generated ids and times included");
    body["input"] = json!("other");
    let (status, conflict) = collector.post("/runs", &body).await;
    assert_eq!(status, 409);
    assert!(conflict["detail"].as_str().unwrap().contains("0193a0e4"), "{conflict}");
    let (_, stored) = collector.get("/runs/0193a0e4-0000-7000-8000-000000000001").await;
    assert_eq!(stored["run"]["input"], "Hello");
    assert_eq!(stored["stats"]["total_steps"], 3);
}
on_both_stores!(a_resend_is_idempotent_and_a_change_is_a_conflict);

async fn a_running_run_takes_steps_and_is_finished(url: &str) {
    let collector = Collector::start(url, &[]).await;
    let id = "0193a0e4-0000-7000-8000-000000000002";
    let mut body = json!({"run_id": id, "model": "m", "input": "q", "status": "running", "steps": [{"id": "one"}]});
    let (_, started) = collector.post("/runs", &body).await;
    assert_eq!(started["status"], "running");
    let (status, appended) =
        collector.post(&format!("/runs/{id}/steps"), &json!([{"id": "two", "parent_id": "one"}])).await;
    assert_eq!(status, 200, "{appended:#}");
    assert_eq!(appended["steps"][0]["children"][0]["id"], "two");
    body["status"] = json!("success");
    body["output"] = json!("a");
    let (status, finished) = collector.post("/runs", &body).await;
    assert_eq!((status, &finished["status"], &finished["output"]), (200, &json!("success"), &json!("a")));
    assert_eq!(finished["created_at"], started["created_at"]);
    assert_eq!(finished["steps"][0]["children"][0]["id"], "two", "what was appended stays");
    let (status, refused) = collector.post(&format!("/runs/{id}/steps"), &json!([{"id": "three"}])).await;
    assert!(status == 409 && refused["detail"].as_str().unwrap().contains("not running"), "{status} {refused}");
    let unknown = "/runs/0193a0e4-0000-7000-8000-00000000ffff/steps";
    assert_eq!(collector.post(unknown, &json!([{"id": "x"}])).await, (404, json!({"detail": "Run not found"})));
}
on_both_stores!(a_running_run_takes_steps_and_is_finished);

async fn a_bad_run_of_a_batch_costs_only_itself(url: &str) {
    let collector = Collector::start(url, &[]).await;
    let (status, answer) = collector.post("/runs/batch", &json!({"runs": [run(), {"model": "m"}, 5, run()]})).await;
    assert_eq!(status, 200, "{answer:#}");
    let statuses: Vec<_> =
        answer["results"].as_array().unwrap().iter().map(|result| result["status"].clone()).collect();
    assert_eq!(statuses, [json!(200), json!(422), json!(422), json!(200)]);
    assert_eq!(answer["results"][3]["run"]["model"], "gpt-4o-mini");
    let lines = format!("{}\n\n{{broken\n{}\n", run(), run());
    let request = collector.client().post(collector.url("/runs/batch")).bearer_auth(&collector.key);
    let response = request.header("content-type", "application/x-ndjson").body(lines).send().await.unwrap();
    let answer: Value = response.json().await.unwrap();
    let statuses: Vec<_> =
        answer["results"].as_array().unwrap().iter().map(|result| result["status"].clone()).collect();
    assert_eq!(statuses, [json!(200), json!(422), json!(200)]);
    assert_eq!(collector.get("/runs").await.1["items"].as_array().unwrap().len(), 4);
}
on_both_stores!(a_bad_run_of_a_batch_costs_only_itself);

#[tokio::test]
async fn refusals_speak_as_the_seed_did() {
    let collector = collector().await;
    let send = async |key: Option<&str>, content_type: &str, body: String| {
        let mut request =
            collector.client().post(collector.url("/runs")).header("content-type", content_type).body(body);
        if let Some(key) = key {
            request = request.header("x-api-key", key);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.headers().clone(), response.json::<Value>().await.unwrap())
    };
    let json_type = "application/json";
    let (status, headers, body) = send(None, json_type, run().to_string()).await;
    assert_eq!((status, body), (401, json!({"detail": "Missing API key"})));
    assert!(headers.contains_key("www-authenticate"));
    let (status, _, body) = send(Some("wrong"), json_type, run().to_string()).await;
    assert_eq!((status, body), (403, json!({"detail": "Invalid API key"})));
    assert_eq!(send(Some(&collector.key), json_type, "{".into()).await.0, 400);
    assert_eq!(send(Some(&collector.key), "text/plain", run().to_string()).await.0, 415);
    assert_eq!(send(Some(&collector.key), json_type, "[]".into()).await.0, 422);
    let wrong_method = collector.client().delete(collector.url("/runs")).send().await.unwrap();
    assert_eq!((wrong_method.status().as_u16(), wrong_method.headers().contains_key("allow")), (405, true));
    assert_eq!(wrong_method.json::<Value>().await.unwrap(), json!({"detail": "Method not allowed"}));
    let limited = collector.make_key("small", &["--quota", "requests=1/min"]);
    assert_eq!(send(Some(&limited), json_type, run().to_string()).await.0, 200);
    let (status, headers, body) = send(Some(&limited), json_type, run().to_string()).await;
    assert_eq!((status, body), (429, json!({"detail": "Rate limit exceeded (1 requests per minute)"})));
    assert_eq!(headers["ratelimit-policy"], "\"requests\";q=1;w=60");
    assert_eq!(headers["ratelimit"], format!("\"requests\";r=0;t={}", headers["retry-after"].to_str().unwrap()));
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_413() {
    let collector = Collector::start(OWN_FILE, &[("VECTOROS_LIMITS__BODY_BYTES", "10KiB")]).await;
    let fits = "x".repeat(9 * 1024);
    assert_eq!(collector.post("/runs", &run_with("input", json!(fits))).await.0, 200);
    assert_eq!(collector.post("/runs", &run_with("input", json!("x".repeat(10 * 1024)))).await.0, 413);
}

async fn pages_are_stable_while_runs_arrive(url: &str) {
    let collector = Collector::start(url, &[]).await;
    for number in 0..25 {
        collector.post("/runs", &run_with("name", json!(format!("run {number}")))).await;
    }
    let mut seen = Vec::new();
    let mut path = "/runs?limit=10".to_owned();
    loop {
        let (_, page) = collector.get(&path).await;
        seen.extend(page["items"].as_array().unwrap().iter().map(|run| run["name"].as_str().unwrap().to_owned()));
        collector.post("/runs", &run_with("name", json!("newer"))).await;
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/runs?limit=10&cursor={cursor}"),
            None => break,
        }
    }
    let wanted: Vec<_> = (0..25).rev().map(|number| format!("run {number}")).collect();
    assert_eq!(seen, wanted);
    assert_eq!(collector.get("/runs").await.1["items"].as_array().unwrap().len(), 20, "the default");
    for wrong in ["limit=0", "limit=101", "limit=x", "cursor=abc", "colour=red", "status=done", "limit=1&limit=2"] {
        let (status, body) = collector.get(&format!("/runs?{wrong}")).await;
        let name = wrong.split('=').next().unwrap();
        assert!(status == 400 && body["detail"].as_str().unwrap().contains(name), "{wrong}: {status} {body}");
    }
}
on_both_stores!(pages_are_stable_while_runs_arrive);
