//! Searches in vector databases as OpenLLMetry and OpenLIT record them: a database span with the vendor's own keys, what
//! was found in events.

use serde_json::{Map, Value};

use crate::mapping::draft::{Content, Draft, Side};
use crate::mapping::precedence::Family;
use crate::mapping::sent::Sent;
use crate::mapping::usable;
use crate::model::step::StepType;
use crate::model::value::AnyValue;

const SYSTEMS: [&str; 11] = [
    "chroma",
    "chromadb",
    "pinecone",
    "qdrant",
    "weaviate",
    "milvus",
    "lancedb",
    "marqo",
    "astra",
    "turbopuffer",
    "vectorstore",
];
const SYSTEM: [&str; 2] = ["db.system", "db.system.name"];
const OPERATIONS: [&str; 3] = ["db.operation", "db.operation.name", "gen_ai.operation.name"];
const TOP_K: [&str; 2] = ["db.vector.query.top_k", "db.vector.query.content"];
/// One event for each document found.
const RESULTS: [&str; 2] = ["db.query.result", "db.search.result"];
/// What the events about one found document call its parts, and what the parts are.
const PARTS: [(&str, &str); 9] = [
    ("db.query.result.id", "id"),
    ("db.query.result.document", "content"),
    ("db.query.result.score", "score"),
    ("db.query.result.distance", "distance"),
    ("db.query.result.metadata", "metadata"),
    ("db.search.result.id", "id"),
    ("db.search.result.entity", "content"),
    ("db.search.result.score", "score"),
    ("db.search.result.distance", "distance"),
];
/// More found documents than this are left to the events.
const DOCUMENTS_MAX: usize = 1000;

pub(super) fn is_one(sent: &Sent<'_>) -> bool {
    let is_known = |key: &&str| sent.text(key).is_some_and(|name| SYSTEMS.contains(&&*name.to_ascii_lowercase()));
    SYSTEM.iter().any(is_known) || TOP_K.iter().any(|key| sent.has(key))
}

/// The key by which the span says that it looks something up, and does not write.
pub(super) fn searches(sent: &Sent<'_>) -> Option<&'static str> {
    if !is_one(sent) {
        return None;
    }
    if let Some(key) = TOP_K.into_iter().find(|key| sent.has(key)) {
        return Some(key);
    }
    let looks_up = |name: &str| {
        let lower = name.to_ascii_lowercase();
        ["query", "search", "retriev", "recommend", "near", ".get.do"].iter().any(|word| lower.contains(word))
    };
    if let Some(key) = OPERATIONS.into_iter().find(|key| sent.text(key).is_some_and(looks_up)) {
        return Some(key);
    }
    let told = sent.events().iter().any(|event| RESULTS.contains(&event.name.as_str()));
    (told || looks_up(&sent.span.name)).then_some(SYSTEM[0])
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    if *kind != StepType::Retrieval {
        return;
    }
    draft.offer_attribute(Side::Input, Family::Retrieval, sent, "db.vector.query.content");
    draft.offer_attribute(Side::Input, Family::Retrieval, sent, "db.marqo.search.query");
    if is_one(sent) {
        draft.offer_attribute(Side::Input, Family::Retrieval, sent, "db.query.text");
    }
    draft.offer_attribute(Side::Output, Family::Retrieval, sent, "db.vector.query.response.documents");
    draft.offer_content(Side::Output, Family::Retrieval, || {
        let found: Vec<Value> = (sent.events().iter())
            .filter(|event| RESULTS.contains(&event.name.as_str()))
            .take(DOCUMENTS_MAX)
            .map(|event| document(&event.attributes))
            .filter(|document| document.as_object().is_some_and(|parts| !parts.is_empty()))
            .collect();
        let text = (!found.is_empty()).then(|| Value::Array(found).to_string())?;
        Some(Content { source: "db.query.result*", text: text.into() })
    });
}

fn document(attributes: &[(String, AnyValue)]) -> Value {
    let mut parts = Map::new();
    for (key, name) in PARTS {
        if let Some((_, value)) = attributes.iter().find(|(sent, value)| sent == key && usable::is_usable(value)) {
            parts.insert(name.to_owned(), value.to_plain_json());
        }
    }
    Value::Object(parts)
}
