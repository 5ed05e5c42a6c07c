//! AnyValue, KeyValue, Resource and InstrumentationScope. Field numbers: `common/v1/common.proto`, `resource/v1/resource.proto`.

use crate::model::span::Attributes;
use crate::model::value::AnyValue;
use crate::otlp::fault::Fault;
use crate::otlp::intake::{Ledger, Producer};
use crate::otlp::rules::{settle_dropping, storable, text, too_deep};
use crate::otlp::wire::Reader;

/// The parts of a resource; the same field sent twice is merged, as protobuf has it.
pub(super) fn resource<'a>(
    messages: impl Iterator<Item = &'a [u8]>,
    schema_url: &[u8],
    ledger: &mut Ledger,
) -> Result<Producer, Fault> {
    let mut producer = Producer { schema_url: text(schema_url, ledger), ..Producer::default() };
    for message in messages {
        reserve(&mut producer.attributes, message, 1, ledger)?;
        for field in Reader::new(message) {
            let field = field?;
            match field.number {
                1 => producer.attributes.push(key_value(field.bytes("resource.attributes")?, 0, ledger)?),
                2 => producer.dropped_attributes_count = field.uint32("resource.dropped_attributes_count")?,
                _ => {}
            }
        }
    }
    settle_dropping(&mut producer.attributes, ledger);
    Ok(producer)
}

pub(super) fn scope<'a>(
    messages: impl Iterator<Item = &'a [u8]>,
    schema_url: &[u8],
    ledger: &mut Ledger,
) -> Result<Producer, Fault> {
    let mut producer = Producer { schema_url: text(schema_url, ledger), ..Producer::default() };
    for message in messages {
        reserve(&mut producer.attributes, message, 3, ledger)?;
        for field in Reader::new(message) {
            let field = field?;
            match field.number {
                1 => producer.name = text(field.bytes("scope.name")?, ledger),
                2 => producer.version = text(field.bytes("scope.version")?, ledger),
                3 => producer.attributes.push(key_value(field.bytes("scope.attributes")?, 0, ledger)?),
                4 => producer.dropped_attributes_count = field.uint32("scope.dropped_attributes_count")?,
                _ => {}
            }
        }
    }
    settle_dropping(&mut producer.attributes, ledger);
    Ok(producer)
}

/// Makes room for the attributes of `message`, exactly, after asking whether they may be built.
pub(super) fn reserve(
    attributes: &mut Attributes,
    message: &[u8],
    number: u32,
    ledger: &mut Ledger,
) -> Result<(), Fault> {
    let count = count(message, number)?;
    ledger.spend_items::<(String, AnyValue)>(count)?;
    attributes.reserve_exact(count);
    Ok(())
}

/// How often field `number` stands in `message`.
fn count(message: &[u8], number: u32) -> Result<usize, Fault> {
    let mut count = 0;
    for field in Reader::new(message) {
        count += usize::from(field?.number == number);
    }
    Ok(count)
}

/// `depth` is the number of arrays and lists around the pair.
pub(super) fn key_value(message: &[u8], depth: usize, ledger: &mut Ledger) -> Result<(String, AnyValue), Fault> {
    let (mut key, mut value): (&[u8], _) = (&[], AnyValue::Null);
    for field in Reader::new(message) {
        let field = field?;
        match field.number {
            1 => key = field.bytes("attribute key")?,
            2 => value = any_value(field.bytes("attribute value")?, depth, ledger)?,
            // An index into a table of strings, which only profiles have.
            3 => ledger.repaired("string_index"),
            _ => {}
        }
    }
    let value = if depth == 0 { storable(value, ledger) } else { value };
    Ok((text(key, ledger), value))
}

/// `depth` is the number of arrays and lists around the value.
pub(super) fn any_value(message: &[u8], depth: usize, ledger: &mut Ledger) -> Result<AnyValue, Fault> {
    let mut value = AnyValue::Null;
    for field in Reader::new(message) {
        let field = field?;
        value = match field.number {
            1 => AnyValue::Str(text(field.bytes("string_value")?, ledger)),
            2 => AnyValue::Bool(field.varint("bool_value")? != 0),
            3 => AnyValue::Int(field.varint("int_value")? as i64),
            4 => AnyValue::Double(f64::from_bits(field.fixed64("double_value")?)),
            5 => array(field.bytes("array_value")?, depth + 1, ledger)?,
            6 => kvlist(field.bytes("kvlist_value")?, depth + 1, ledger)?,
            7 => AnyValue::Bytes(field.bytes("bytes_value")?.to_vec()),
            8 => {
                ledger.repaired("string_index");
                AnyValue::Null
            }
            _ => continue,
        };
    }
    Ok(value)
}

fn array(message: &[u8], depth: usize, ledger: &mut Ledger) -> Result<AnyValue, Fault> {
    if depth > ledger.depth_max {
        return Ok(too_deep(ledger));
    }
    let count = count(message, 1)?;
    ledger.spend::<AnyValue>(count)?;
    let mut items = Vec::with_capacity(count);
    for field in Reader::new(message) {
        let field = field?;
        if field.number == 1 {
            items.push(any_value(field.bytes("array_value.values")?, depth, ledger)?);
        }
    }
    Ok(AnyValue::Array(items))
}

fn kvlist(message: &[u8], depth: usize, ledger: &mut Ledger) -> Result<AnyValue, Fault> {
    if depth > ledger.depth_max {
        return Ok(too_deep(ledger));
    }
    let count = count(message, 1)?;
    ledger.spend::<(String, AnyValue)>(count)?;
    let mut pairs = Vec::with_capacity(count);
    for field in Reader::new(message) {
        let field = field?;
        if field.number == 1 {
            pairs.push(key_value(field.bytes("kvlist_value.values")?, depth, ledger)?);
        }
    }
    Ok(AnyValue::Kvlist(pairs))
}
