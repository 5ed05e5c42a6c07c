//! Keys and projects.

use vectoros::model::id::ProjectId;
use vectoros::model::key::{KeyChanges, PreviousSecret, Scopes};
use vectoros::model::quota::Quota;
use vectoros::store::{NewKey, Store, StoreError};

use super::on_both;
use super::samples::*;

on_both!(
    a_project_is_created_once,
    a_key_lives_and_is_revoked,
    a_key_is_rotated_under_its_id,
    a_key_is_changed,
    a_key_of_another_project_does_not_exist,
    a_key_id_is_taken_once,
    the_store_answers_a_ping,
);

fn new_key(project: ProjectId, id: &str) -> NewKey {
    NewKey {
        id: id.to_owned(),
        name: Some("laptop".into()),
        project,
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

pub async fn a_key_lives_and_is_revoked(store: &dyn Store) {
    let shop = project(store, "shop").await;
    let key = store.add_key(new_key(shop, "abcdefgh"), at(1)).await.unwrap();
    assert_eq!(key.project, shop);
    assert_eq!((key.created_at, key.expires_at), (at(1), Some(at(1000))));
    assert_eq!((&*key.project_name, key.scopes, key.secret_hash), ("shop", Scopes::INGEST_AND_READ, [7; 32]));
    assert_eq!((&key.quota, key.previous), (&new_key(shop, "").quota, None));
    assert_eq!(store.key("abcdefgh").await.unwrap(), Some(key.clone()));
    assert_eq!(store.key("unknown").await.unwrap(), None);
    let other = store.add_key(new_key(shop, "zzzzzzzz"), at(2)).await.unwrap();
    assert_eq!(store.keys(None).await.unwrap(), [key.clone(), other.clone()]);
    assert_eq!(store.keys(Some(shop)).await.unwrap(), [key.clone(), other]);

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

    assert!(store.revoke_key(shop, "abcdefgh", at(60)).await.unwrap());
    assert!(store.revoke_key(shop, "abcdefgh", at(70)).await.unwrap());
    assert!(!store.revoke_key(shop, "unknown", at(60)).await.unwrap());
    let revoked = store.key("abcdefgh").await.unwrap().unwrap();
    assert_eq!(revoked.revoked_at, Some(at(60)), "the first time counts");
    assert!(!revoked.is_live(at(61)));
}

pub async fn a_key_is_rotated_under_its_id(store: &dyn Store) {
    let shop = project(store, "shop").await;
    let made = store.add_key(new_key(shop, "abcdefgh"), at(1)).await.unwrap();
    assert!(store.rotate_key(shop, "abcdefgh", [8; 32], at(90), at(10)).await.unwrap());
    let rotated = store.key("abcdefgh").await.unwrap().unwrap();
    assert_eq!(rotated.secret_hash, [8; 32]);
    assert_eq!(rotated.previous, Some(PreviousSecret { hash: [7; 32], until: at(90) }));
    assert_eq!((rotated.state(at(89)).word(), rotated.state(at(90)).word()), ("rotating", "live"));
    assert_eq!((rotated.quota, rotated.created_at), (made.quota, made.created_at));
    // Once more within the overlap: the oldest secret ends.
    assert!(store.rotate_key(shop, "abcdefgh", [9; 32], at(200), at(20)).await.unwrap());
    let rotated = store.key("abcdefgh").await.unwrap().unwrap();
    assert_eq!(rotated.previous, Some(PreviousSecret { hash: [8; 32], until: at(200) }));
    // An ended key is not brought back.
    assert!(!store.rotate_key(shop, "abcdefgh", [1; 32], at(2000), at(1000)).await.unwrap(), "expired");
    store.revoke_key(shop, "abcdefgh", at(30)).await.unwrap();
    assert!(!store.rotate_key(shop, "abcdefgh", [1; 32], at(90), at(40)).await.unwrap(), "revoked");
    assert!(!store.rotate_key(shop, "unknown", [1; 32], at(90), at(40)).await.unwrap());
    assert_eq!(store.key("abcdefgh").await.unwrap().unwrap().secret_hash, [9; 32]);
}

pub async fn a_key_is_changed(store: &dyn Store) {
    let shop = project(store, "shop").await;
    let made = store.add_key(new_key(shop, "abcdefgh"), at(1)).await.unwrap();
    let nothing = KeyChanges::default();
    assert!(store.change_key(shop, "abcdefgh", &nothing).await.unwrap());
    assert_eq!(store.key("abcdefgh").await.unwrap().unwrap(), made);
    let quota: Quota = "bytes=1GiB/min,bytes=1TiB/month".parse().unwrap();
    let changes = KeyChanges { quota: Some(quota.clone()), ..nothing.clone() };
    assert!(store.change_key(shop, "abcdefgh", &changes).await.unwrap());
    let changed = store.key("abcdefgh").await.unwrap().unwrap();
    assert_eq!((&changed.quota, &changed.name, changed.expires_at), (&quota, &made.name, made.expires_at));
    let changes = KeyChanges { name: Some(None), expires_at: Some(None), quota: None };
    assert!(store.change_key(shop, "abcdefgh", &changes).await.unwrap());
    let changed = store.key("abcdefgh").await.unwrap().unwrap();
    assert_eq!((&changed.quota, &changed.name, changed.expires_at), (&quota, &None, None));
    let changes = KeyChanges { name: Some(Some("nul \0".into())), expires_at: Some(Some(at(5))), quota: None };
    assert!(store.change_key(shop, "abcdefgh", &changes).await.unwrap());
    let changed = store.key("abcdefgh").await.unwrap().unwrap();
    assert_eq!(changed.expires_at, Some(at(5)));
    assert!(!store.change_key(shop, "unknown", &changes).await.unwrap());
}

pub async fn a_key_of_another_project_does_not_exist(store: &dyn Store) {
    let (shop, other) = (project(store, "shop").await, project(store, "other").await);
    let made = store.add_key(new_key(shop, "abcdefgh"), at(1)).await.unwrap();
    assert_eq!(store.project_key(shop, "abcdefgh").await.unwrap(), Some(made.clone()));
    assert_eq!(store.project_key(other, "abcdefgh").await.unwrap(), None);
    assert_eq!(store.keys(Some(other)).await.unwrap(), []);
    assert!(!store.revoke_key(other, "abcdefgh", at(2)).await.unwrap());
    assert!(!store.rotate_key(other, "abcdefgh", [8; 32], at(90), at(10)).await.unwrap());
    let changes = KeyChanges { name: Some(None), ..KeyChanges::default() };
    assert!(!store.change_key(other, "abcdefgh", &changes).await.unwrap());
    assert_eq!(store.key("abcdefgh").await.unwrap(), Some(made));
}

async fn a_key_id_is_taken_once(store: &dyn Store) {
    let shop = project(store, "shop").await;
    store.add_key(new_key(shop, "abcdefgh"), at(1)).await.unwrap();
    let again = store.add_key(new_key(shop, "abcdefgh"), at(2)).await;
    assert!(matches!(again, Err(StoreError::Data(_))), "{again:?}");
}

async fn the_store_answers_a_ping(store: &dyn Store) {
    store.ping().await.unwrap();
    store.migrate().await.expect("a second time changes nothing");
}
