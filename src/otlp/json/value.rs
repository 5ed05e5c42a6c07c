//! AnyValue, KeyValue, Resource and InstrumentationScope in OTLP/JSON.

use crate::model::span::Attributes;
use crate::model::value::AnyValue;
use crate::otlp::fault::Fault;
use crate::otlp::intake::{Ledger, Producer};
use crate::otlp::json::cursor::Cursor;
use crate::otlp::json::names::pass_over;
use crate::otlp::json::scalar::{boolean, bytes, double, int};
use crate::otlp::rules::{settle_dropping, storable, too_deep};

/// A resource or a scope: a resource has no name and no version, and ignores them as it does all it does not know.
pub(super) fn producer(
    message: Option<Cursor<'_>>,
    schema_url: Option<Cursor<'_>>,
    is_scope: bool,
    ledger: &mut Ledger,
) -> Result<Producer, Fault> {
    let mut producer = Producer::default();
    if let Some(mut schema_url) = schema_url {
        producer.schema_url = schema_url.string("schemaUrl", ledger)?;
    }
    let Some(mut message) = message else { return Ok(producer) };
    message.object("resource or scope", |name, value| {
        match name {
            "attributes" => attributes(&mut producer.attributes, value, ledger)?,
            "droppedAttributesCount" => producer.dropped_attributes_count = int(value, "droppedAttributesCount")?,
            "name" if is_scope => producer.name = value.string("scope.name", ledger)?,
            "version" if is_scope => producer.version = value.string("scope.version", ledger)?,
            _ => pass_over(name, value, ledger),
        }
        Ok(())
    })?;
    settle_dropping(&mut producer.attributes, ledger);
    Ok(producer)
}

/// Adds the attributes of a span, record, event, link, resource or scope.
pub(super) fn attributes(list: &mut Attributes, cursor: &mut Cursor<'_>, ledger: &mut Ledger) -> Result<(), Fault> {
    cursor.array("attributes", |pair| {
        ledger.spend_items::<(String, AnyValue)>(1)?;
        list.push(key_value(pair, 0, ledger)?);
        Ok(())
    })
}

/// `depth` is the number of arrays and lists around the pair.
fn key_value(cursor: &mut Cursor<'_>, depth: usize, ledger: &mut Ledger) -> Result<(String, AnyValue), Fault> {
    let (mut key, mut value) = (String::new(), AnyValue::Null);
    cursor.object("attribute", |name, member| {
        match name {
            "key" => key = member.string("attribute key", ledger)?,
            "value" => value = any_value(member, depth, ledger)?,
            _ => pass_over(name, member, ledger),
        }
        Ok(())
    })?;
    let value = if depth == 0 { storable(value, ledger) } else { value };
    Ok((key, value))
}

/// `{}`, `null` and a member that is `null` are the AnyValue without a value.
pub(super) fn any_value(cursor: &mut Cursor<'_>, depth: usize, ledger: &mut Ledger) -> Result<AnyValue, Fault> {
    let mut result = AnyValue::Null;
    cursor.object("attribute value", |name, member| {
        if member.take_null() {
            return Ok(());
        }
        result = match name {
            "stringValue" => AnyValue::Str(member.string("stringValue", ledger)?),
            "boolValue" => AnyValue::Bool(boolean(member, "boolValue")?),
            "intValue" => AnyValue::Int(int(member, "intValue")?),
            "doubleValue" => AnyValue::Double(double(member, "doubleValue")?),
            "bytesValue" => AnyValue::Bytes(bytes(member, "bytesValue")?),
            "arrayValue" | "kvlistValue" if depth >= ledger.depth_max => {
                member.skip();
                too_deep(ledger)
            }
            "arrayValue" => array(member, depth + 1, ledger)?,
            "kvlistValue" => kvlist(member, depth + 1, ledger)?,
            _ => {
                pass_over(name, member, ledger);
                return Ok(());
            }
        };
        Ok(())
    })?;
    Ok(result)
}

fn array(cursor: &mut Cursor<'_>, depth: usize, ledger: &mut Ledger) -> Result<AnyValue, Fault> {
    let mut items = Vec::new();
    cursor.object("arrayValue", |name, member| {
        if name != "values" {
            pass_over(name, member, ledger);
            return Ok(());
        }
        member.array("arrayValue.values", |element| {
            ledger.spend::<AnyValue>(1)?;
            items.push(any_value(element, depth, ledger)?);
            Ok(())
        })
    })?;
    Ok(AnyValue::Array(items))
}

fn kvlist(cursor: &mut Cursor<'_>, depth: usize, ledger: &mut Ledger) -> Result<AnyValue, Fault> {
    let mut pairs = Vec::new();
    cursor.object("kvlistValue", |name, member| {
        if name != "values" {
            pass_over(name, member, ledger);
            return Ok(());
        }
        member.array("kvlistValue.values", |pair| {
            ledger.spend::<(String, AnyValue)>(1)?;
            pairs.push(key_value(pair, depth, ledger)?);
            Ok(())
        })
    })?;
    Ok(AnyValue::Kvlist(pairs))
}
