//! The producer of spans as it is stored: one JSON text for thousands of spans, named by its hash.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128;

use crate::mapping::detail::read::{Fields, attributes_of};
use crate::mapping::detail::write::{Attributes, Text};
use crate::model::batch::OriginRow;
use crate::model::span::{self, Origin};

/// The row that stands for this producer: equal producers have equal rows.
pub(super) fn row(origin: &Origin) -> OriginRow {
    let body = serde_json::to_string(&Body(origin)).unwrap_or_else(|_| "{}".to_owned());
    OriginRow { id: Uuid::from_u128(xxh3_128(body.as_bytes())), body }
}

/// Reads a stored body back without loss. What is not such a body reads as a producer that said nothing.
pub(super) fn read(body: &str) -> Origin {
    let Ok(Value::Object(mut body)) = serde_json::from_str::<Value>(body) else { return Origin::default() };
    let mut resource = object(&mut body, "resource");
    let mut scope = object(&mut body, "scope");
    Origin {
        resource: attributes_of(resource.remove("attributes")),
        resource_dropped_attributes_count: resource.number("dropped_attributes_count"),
        resource_schema_url: resource.text("schema_url"),
        scope_name: scope.text("name"),
        scope_version: scope.text("version"),
        scope_attributes: attributes_of(scope.remove("attributes")),
        scope_dropped_attributes_count: scope.number("dropped_attributes_count"),
        scope_schema_url: scope.text("schema_url"),
    }
}

fn object(body: &mut Map<String, Value>, key: &str) -> Map<String, Value> {
    match body.remove(key) {
        Some(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

/// `service.name`, without what the SDKs write when nobody named the service.
pub(super) fn service(origin: &Origin) -> Option<&str> {
    resource_text(origin, "service.name").filter(|name| !name.starts_with("unknown_service"))
}

/// A string of the resource that is not empty.
pub(super) fn resource_text<'a>(origin: &'a Origin, key: &str) -> Option<&'a str> {
    span::get(&origin.resource, key)?.as_str().filter(|text| !text.trim().is_empty())
}

struct Body<'a>(&'a Origin);

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut map = out.serialize_map(Some(2))?;
        map.serialize_entry("resource", &Resource(self.0))?;
        map.serialize_entry("scope", &Scope(self.0))?;
        map.end()
    }
}

struct Resource<'a>(&'a Origin);

impl Serialize for Resource<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut map = out.serialize_map(None)?;
        map.serialize_entry("attributes", &Attributes::all(&self.0.resource))?;
        if self.0.resource_dropped_attributes_count > 0 {
            map.serialize_entry("dropped_attributes_count", &self.0.resource_dropped_attributes_count)?;
        }
        if !self.0.resource_schema_url.is_empty() {
            map.serialize_entry("schema_url", &Text(&self.0.resource_schema_url))?;
        }
        map.end()
    }
}

struct Scope<'a>(&'a Origin);

impl Serialize for Scope<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut map = out.serialize_map(None)?;
        map.serialize_entry("name", &Text(&self.0.scope_name))?;
        if !self.0.scope_version.is_empty() {
            map.serialize_entry("version", &Text(&self.0.scope_version))?;
        }
        if !self.0.scope_attributes.is_empty() {
            map.serialize_entry("attributes", &Attributes::all(&self.0.scope_attributes))?;
        }
        if self.0.scope_dropped_attributes_count > 0 {
            map.serialize_entry("dropped_attributes_count", &self.0.scope_dropped_attributes_count)?;
        }
        if !self.0.scope_schema_url.is_empty() {
            map.serialize_entry("schema_url", &Text(&self.0.scope_schema_url))?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::value::AnyValue;

    #[test]
    fn a_producer_reads_back_as_it_was() {
        let origin = Origin {
            resource: vec![
                ("$odd".into(), AnyValue::Int(i64::MIN)),
                ("service.name".into(), AnyValue::Str("a\0b".into())),
            ],
            resource_dropped_attributes_count: 3,
            resource_schema_url: "https://example.org/1".into(),
            scope_name: "scope\0".into(),
            scope_version: "1".into(),
            scope_attributes: vec![("k".into(), AnyValue::Bytes(vec![0, 255]))],
            scope_dropped_attributes_count: 1,
            scope_schema_url: "x".into(),
        };
        let row = row(&origin);
        assert!(!row.body.contains("\\u0000"));
        assert_eq!(read(&row.body), origin);
        assert_eq!(read(&super::row(&Origin::default()).body), Origin::default());
    }

    #[test]
    fn a_service_that_nobody_named_is_unknown() {
        let named = |name: &str| Origin {
            resource: vec![("service.name".into(), AnyValue::Str(name.into()))],
            ..Origin::default()
        };
        assert_eq!(service(&named("shop")), Some("shop"));
        assert_eq!(service(&named("unknown_service:python")), None);
        assert_eq!(service(&named(" ")), None);
    }

    #[test]
    fn foreign_text_reads_as_nothing() {
        for body in ["", "[]", "{\"resource\":7}", "{\"resource\":{\"attributes\":[1]}}"] {
            assert_eq!(read(body), Origin::default(), "{body}");
        }
    }
}
