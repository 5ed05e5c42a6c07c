//! Keys and projects.

use vectoros::model::key::Scopes;
use vectoros::model::quota::Quota;
use vectoros::store::{NewKey, Store, StoreError};

use super::on_both;
use super::samples::*;

on_both!(a_project_is_created_once, a_key_lives_and_is_revoked, a_key_id_is_taken_once, the_store_answers_a_ping);

fn new_key(id: &str) -> NewKey {
    NewKey {
        id: id.to_owned(),
        name: Some("laptop".into()),
        project_name: "shop".into(),
        scopes: Scopes::INGEST_AND_READ,
        quota: "requests=600/min".parse().unwrap(),
        secret_hash: [7; 32],
        expires_at: Some(at(1000)),
    }
}

async fn a_project_is_created_once(store: &dyn Store) {
    let first = project(store, "shop").await;
    assert_eq!(project(store, "shop").await, first);
    assert_ne!(project(store, "other").await, first);
}

async fn a_key_lives_and_is_revoked(store: &dyn Store) {
    let key = store.add_key(new_key("abcdefgh"), at(1)).await.unwrap();
    assert_eq!(key.project, project(store, "shop").await);
    assert_eq!((key.created_at, key.expires_at), (at(1), Some(at(1000))));
    assert_eq!((&*key.project_name, key.scopes, key.secret_hash), ("shop", Scopes::INGEST_AND_READ, [7; 32]));
    assert_eq!(key.quota, new_key("").quota);
    assert_eq!(store.key("abcdefgh").await.unwrap(), Some(key.clone()));
    assert_eq!(store.key("unknown").await.unwrap(), None);
    let other = store.add_key(new_key("zzzzzzzz"), at(2)).await.unwrap();
    assert_eq!(store.keys().await.unwrap(), [key.clone(), other]);

    let used = |ids: &[&str], agent: &str| ids.iter().map(|id| (id.to_string(), agent.to_owned())).collect();
    store.touch_keys(&used(&["abcdefgh", "unknown"], "new"), at(50)).await.unwrap();
    store.touch_keys(&used(&["abcdefgh"], "old"), at(40)).await.unwrap();
    store.touch_keys(&used(&[], ""), at(60)).await.unwrap();
    let touched = store.key("abcdefgh").await.unwrap().unwrap();
    assert_eq!(
        (touched.last_used_at, touched.last_user_agent.as_deref()),
        (Some(at(50)), Some("new")),
        "never moves back"
    );

    let quota: Quota = "bytes=1GiB/min,bytes=1TiB/month".parse().unwrap();
    assert!(store.set_quota("abcdefgh", &quota).await.unwrap());
    assert!(!store.set_quota("unknown", &quota).await.unwrap());
    assert_eq!(store.key("abcdefgh").await.unwrap().unwrap().quota, quota);

    assert!(store.revoke_key("abcdefgh", at(60)).await.unwrap());
    assert!(store.revoke_key("abcdefgh", at(70)).await.unwrap());
    assert!(!store.revoke_key("unknown", at(60)).await.unwrap());
    let revoked = store.key("abcdefgh").await.unwrap().unwrap();
    assert_eq!(revoked.revoked_at, Some(at(60)), "the first time counts");
    assert!(!revoked.is_live(at(61)));
}

async fn a_key_id_is_taken_once(store: &dyn Store) {
    store.add_key(new_key("abcdefgh"), at(1)).await.unwrap();
    let again = store.add_key(new_key("abcdefgh"), at(2)).await;
    assert!(matches!(again, Err(StoreError::Data(_))), "{again:?}");
}

async fn the_store_answers_a_ping(store: &dyn Store) {
    store.ping().await.unwrap();
    store.migrate().await.expect("a second time changes nothing");
}
