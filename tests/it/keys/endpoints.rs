//! `/keys` and `vectoros keys`: the same keys, shown alike.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::collector::{Collector, OWN_FILE};
use crate::database::{Database, on_both_stores};

/// One request as `key`: status and JSON.
async fn ask(collector: &Collector, key: &str, method: Method, path: &str, body: Value) -> (u16, Value) {
    let request = collector.client().request(method, collector.url(path)).bearer_auth(key);
    let request = if body.is_null() { request } else { request.json(&body) };
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}")))
}

/// A change is effective within 5 s.
pub async fn wait_until_refused(collector: &Collector, key: &str) {
    let end = Instant::now() + Duration::from_secs(5);
    while runs_status(collector, key).await != 403 {
        assert!(Instant::now() < end, "still accepted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn runs_status(collector: &Collector, key: &str) -> u16 {
    collector.get_with(key, "/runs").await.0
}

async fn a_key_lives_from_creation_to_revocation(url: &str) {
    let collector = Collector::start(url, &[]).await;
    let admin = collector.make_key("shop", &["--scope", "admin"]);
    let wanted = json!({"name": "ci", "scopes": ["read"], "quota": {"requests": "600/min"}, "expires_in": "1d"});
    let (status, made) = ask(&collector, &admin, Method::POST, "/keys", wanted).await;
    assert_eq!(status, 201, "{made:#}");
    let (key, id) = (made["key"].as_str().unwrap(), made["id"].as_str().unwrap());
    assert_eq!((&made["project"], &made["scopes"], &made["state"]), (&json!("shop"), &json!(["read"]), &json!("live")));
    assert_eq!((&made["name"], &made["quota"]), (&json!("ci"), &json!({"requests": "600/min"})));
    assert_eq!(runs_status(&collector, key).await, 200, "it works at once");

    // Listed once, without its text, newest last; the command line shows the very same.
    let (_, listed) = ask(&collector, &admin, Method::GET, "/keys", Value::Null).await;
    let items = listed["items"].as_array().unwrap();
    assert_eq!((items.len(), &items[1]["id"]), (2, &made["id"]), "{listed:#}");
    assert!(!listed.to_string().contains(&key[13..45]), "no secret is shown again");
    let by_command: Value = serde_json::from_str(&collector.command(&["keys", "list", "--json"])).unwrap();
    let same = by_command.as_array().unwrap().iter().find(|key| key["id"] == made["id"]).unwrap();
    let (_, shown) = ask(&collector, &admin, Method::GET, &format!("/keys/{id}"), Value::Null).await;
    let used = ["last_used_at", "last_user_agent"];
    for (field, value) in shown.as_object().unwrap().iter().filter(|(field, _)| !used.contains(&field.as_str())) {
        assert_eq!((value, value), (&items[1][field], &same[field]), "{field}");
    }

    // Changed, in part.
    let change = json!({"name": null, "quota": {"steps": "5/day"}, "expires_at": null});
    let (status, changed) = ask(&collector, &admin, Method::PATCH, &format!("/keys/{id}"), change).await;
    assert_eq!(status, 200, "{changed:#}");
    assert_eq!((&changed["name"], &changed["expires_at"]), (&Value::Null, &Value::Null));
    assert_eq!(changed["quota"], json!({"requests": "600/min", "steps": "5/day"}));

    // Rotated: both secrets work, then the new one alone.
    let rotate = format!("/keys/{id}/rotate");
    let (status, rotated) = ask(&collector, &admin, Method::POST, &rotate, Value::Null).await;
    let new = rotated["key"].as_str().unwrap();
    assert_eq!((status, &rotated["state"], &new[..13]), (200, &json!("rotating"), &key[..13]), "{rotated:#}");
    assert_eq!((runs_status(&collector, key).await, runs_status(&collector, new).await), (200, 200));
    let (_, rotated) = ask(&collector, &admin, Method::POST, &rotate, json!({"overlap": "0s"})).await;
    let newest = rotated["key"].as_str().unwrap();
    assert_eq!(rotated["state"], "live");
    assert_eq!(runs_status(&collector, newest).await, 200);
    assert_eq!(runs_status(&collector, key).await, 403, "a second rotation ends the oldest");
    wait_until_refused(&collector, new).await;
    let replaced: Value =
        serde_json::from_str(&collector.command(&["keys", "rotate", id, "--overlap", "1h", "--json"])).unwrap();
    assert_eq!(runs_status(&collector, replaced["key"].as_str().unwrap()).await, 200);
    assert!(collector.command(&["keys", "list"]).contains("rotating until"));

    // Revoked, twice the same; and not to be brought back.
    let (status, revoked) = ask(&collector, &admin, Method::DELETE, &format!("/keys/{id}"), Value::Null).await;
    assert_eq!((status, &revoked["state"]), (200, &json!("revoked")));
    let (_, again) = ask(&collector, &admin, Method::DELETE, &format!("/keys/{id}"), Value::Null).await;
    assert_eq!(again["revoked_at"], revoked["revoked_at"]);
    let (status, refused) = ask(&collector, &admin, Method::POST, &rotate, Value::Null).await;
    assert_eq!(status, 409);
    assert!(refused["detail"].as_str().unwrap().contains("revoked"), "{refused}");
    assert!(collector.failing_command(&["keys", "rotate", id]).contains("is revoked"));
    assert!(collector.failing_command(&["keys", "rotate", "nobody00"]).contains("no key"));
}
on_both_stores!(a_key_lives_from_creation_to_revocation);

#[tokio::test]
async fn the_command_line_changes_an_expiry() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let key = collector.make_key("default", &[]);
    let state = || {
        let listed: Value = serde_json::from_str(&collector.command(&["keys", "list", "--json"])).unwrap();
        let key = listed.as_array().unwrap().iter().find(|listed| listed["id"] == key[4..12]).unwrap().clone();
        (key["state"].clone(), key["expires_at"].clone())
    };
    collector.command(&["keys", "expire", &key[4..12], "--at", "2001-01-01T00:00:00Z"]);
    assert_eq!(state(), (json!("expired"), json!("2001-01-01T00:00:00Z")));
    assert_eq!(runs_status(&collector, &key).await, 403);
    assert!(collector.failing_command(&["keys", "rotate", &key[4..12]]).contains("is expired"));
    collector.command(&["keys", "expire", &key[4..12], "--in", "never"]);
    assert_eq!(state(), (json!("live"), Value::Null));
    assert_eq!(runs_status(&collector, &key).await, 200, "a refusal is never from memory");
    collector.command(&["keys", "expire", &key[4..12], "--in", "1h"]);
    assert_eq!(state().0, "live");
}

#[tokio::test]
async fn what_cannot_be_done_is_told_with_every_fault() {
    let collector = Collector::start(OWN_FILE, &[("VECTOROS_AUTH__API_KEY", "the-one-key")]).await;
    let admin = "the-one-key";
    let wrong =
        json!({"scopes": ["write"], "quota": {"requests": "many", "apples": "1/min"}, "expires_in": 5, "project": "x"});
    let (status, answer) = ask(&collector, admin, Method::POST, "/keys", wrong).await;
    let faults = answer["detail"].as_array().unwrap();
    assert_eq!((status, faults.len()), (422, 5), "{answer:#}");
    for fault in faults {
        let has = |field: &str| fault.get(field).is_some();
        assert!(has("type") && has("msg") && has("input") && fault["loc"][0] == "body", "{fault}");
    }
    let id = &collector.key[4..12];
    for (method, path) in [
        (Method::PATCH, format!("/keys/{id}")),
        (Method::POST, format!("/keys/{id}/rotate")),
        (Method::POST, "/keys".into()),
    ] {
        let (status, _) = ask(&collector, admin, method.clone(), &path, json!({"colour": "red"})).await;
        assert_eq!(status, 422, "{method} {path}");
        let post = || collector.client().request(method.clone(), collector.url(&path)).bearer_auth(admin);
        assert_eq!(post().body("{").send().await.unwrap().status(), 400, "{path}");
        assert_eq!(post().body(" ".repeat(65_537)).send().await.unwrap().status(), 413, "{path}");
        assert_eq!(post().header("content-encoding", "gzip").body("{}").send().await.unwrap().status(), 415, "{path}");
    }
    // Sending and reading are no rights over keys.
    let (status, answer) = ask(&collector, &collector.key, Method::GET, "/keys", Value::Null).await;
    assert_eq!(status, 403);
    assert!(answer["detail"].as_str().unwrap().contains("admin"), "{answer}");
    assert_eq!(collector.client().get(collector.url("/keys")).send().await.unwrap().status(), 401);
    assert_eq!(collector.client().put(collector.url("/keys")).bearer_auth(admin).send().await.unwrap().status(), 405);
    let usual = ask(&collector, admin, Method::POST, "/keys", Value::Null).await;
    assert_eq!(
        (usual.0, &usual.1["scopes"], &usual.1["project"]),
        (201, &json!(["ingest", "read"]), &json!("default"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_not_administered_while_the_store_is_away() {
    let database = Database::postgres().await;
    let (wire, url) = crate::conformance::trouble::Wire::around(&database.url).await;
    let collector = Collector::start(&url, &[]).await;
    let admin = collector.make_key("default", &["--scope", "admin"]);
    assert_eq!(ask(&collector, &admin, Method::GET, "/keys", Value::Null).await.0, 200);
    wire.cut();
    for (method, path) in [(Method::GET, "/keys"), (Method::POST, "/keys"), (Method::DELETE, "/keys/abcdefgh")] {
        let request = collector.client().request(method, collector.url(path)).bearer_auth(&admin);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 503, "{path}");
        assert!(response.headers().contains_key("retry-after"), "{path}");
    }
}
