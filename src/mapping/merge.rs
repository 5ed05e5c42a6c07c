//! Versions of one span to one step. The versions form a set, ranked by their content alone: neither the order in
//! which they came nor the number of copies changes the result.

use std::cmp::Ordering;

use chrono::NaiveDate;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128;

use crate::mapping::content_hash::SpanHasher;
use crate::mapping::detail::read::{self, Stored};
use crate::mapping::detail::write::Version;
use crate::mapping::origin;
use crate::mapping::step::{Making, step};
use crate::model::id::ProjectId;
use crate::model::span::{self, Origin, Span};
use crate::model::step::{Source, Step};
use crate::prices::Prices;

/// Versions that are kept of one span, the winner included. Worse ones leave no trace.
pub(super) const VERSIONS_MAX: usize = 8;

pub(super) fn merge(one: Step, other: Step, prices: &Prices, origin_of: &dyn Fn(Uuid) -> Option<String>) -> Step {
    if one.content_hash == other.content_hash {
        return one;
    }
    let (Some(first), Some(second)) = (read::stored(&one), read::stored(&other)) else {
        return better_whole(one, other);
    };
    let versions = of(first, one.origin).chain(of(second, other.origin));
    // Both stand in one partition; the smaller day keeps the choice symmetric in any case.
    let day = one.day.min(other.day);
    best_of(versions, one.run.project, day, prices, origin_of).unwrap_or(one)
}

/// The step by the rules as they are now. `None` for one that came from no span.
pub(super) fn remap(step: &Step, prices: &Prices, origin_of: &dyn Fn(Uuid) -> Option<String>) -> Option<Step> {
    let stored = read::stored(step)?;
    best_of(of(stored, step.origin), step.run.project, step.day, prices, origin_of)
}

/// Of all versions: by other rules another may be the best.
pub(super) fn origins_of(step: &Step) -> Vec<Uuid> {
    let behind = step.detail.contains("\"versions\"").then(|| read::stored(step)).flatten();
    let behind = behind.into_iter().flat_map(|stored| stored.versions).filter_map(|version| version.origin);
    step.origin.into_iter().chain(behind).collect()
}

fn of(stored: Stored, origin: Option<Uuid>) -> impl Iterator<Item = Version> {
    std::iter::once(Version { span: stored.span, origin }).chain(stored.versions)
}

/// `None` when there are no versions.
fn best_of(
    versions: impl Iterator<Item = Version>,
    project: ProjectId,
    day: NaiveDate,
    prices: &Prices,
    origin_of: &dyn Fn(Uuid) -> Option<String>,
) -> Option<Step> {
    let mut hasher = SpanHasher::default();
    let mut versions: Vec<(Uuid, Version)> =
        versions.map(|version| (hasher.hash(&version.span, version.origin), version)).collect();
    versions.sort_by(best_first);
    versions.dedup_by_key(|(hash, _)| *hash);
    versions.truncate(VERSIONS_MAX);

    let hashes: Vec<u8> = versions.iter().flat_map(|(hash, _)| *hash.as_bytes()).collect();
    let mut versions = versions.into_iter().map(|(_, version)| version);
    let winner = versions.next()?;
    let losers: Vec<Version> = versions.collect();
    let (union, added) = union(&winner.span, &losers);
    let producer = winner.origin.and_then(origin_of).map_or_else(Origin::default, |body| origin::read(&body));
    let making = Making {
        project,
        origin: &producer,
        origin_id: winner.origin,
        day_of_receipt: day,
        added: &added,
        versions: &losers,
        prices: Some(prices),
    };
    let mut best = step(&union, &making, &mut hasher);
    best.day = day;
    if !losers.is_empty() {
        best.content_hash = Uuid::from_u128(xxh3_128(&hashes));
    }
    Some(best)
}

/// Ended before unended, then the later end, more attributes, the larger hash.
fn best_first((hash, version): &(Uuid, Version), (other_hash, other): &(Uuid, Version)) -> Ordering {
    let rank = |span: &Span| (span.end_ns != 0, span.end_ns, span.attributes.len());
    rank(&other.span).cmp(&rank(&version.span)).then_with(|| other_hash.cmp(hash))
}

/// The winner with the attributes that only losers have, and the keys of those.
pub(super) fn union(winner: &Span, losers: &[Version]) -> (Span, Vec<String>) {
    let mut union = winner.clone();
    let mut added = Vec::new();
    for (key, value) in losers.iter().flat_map(|loser| &loser.span.attributes) {
        if span::get(&union.attributes, key).is_none() {
            read::insert(&mut union.attributes, key, value.clone());
            added.push(key.clone());
        }
    }
    added.sort_unstable();
    (union, added)
}

/// Steps that are no spans have no attributes to add: one of them stands.
fn better_whole(one: Step, other: Step) -> Step {
    let rank = |step: &Step| (step.source == Source::Otlp, step.end_ns.is_some(), step.end_ns, step.content_hash);
    if rank(&one) >= rank(&other) { one } else { other }
}
