//! One log record on its own slice.

use crate::model::log::LogRecord;
use crate::model::value::AnyValue;
use crate::otlp::fault::Fault;
use crate::otlp::intake::Ledger;
use crate::otlp::protobuf::Readable;
use crate::otlp::protobuf::value::{any_value, key_value, reserve};
use crate::otlp::rules::{id_or_none, settle, storable, text};
use crate::otlp::wire::{Field, Reader};

impl Readable for LogRecord {
    fn read(message: &[u8], ledger: &mut Ledger) -> Result<LogRecord, Fault> {
        let mut record = LogRecord::default();
        reserve(&mut record.attributes, message, 6, ledger)?;
        for field in Reader::new(message) {
            read(&mut record, &field?, ledger)?;
        }
        record.duplicate_attributes = settle(&mut record.attributes);
        record.repairs = ledger.take_repairs();
        Ok(record)
    }
}

fn read(record: &mut LogRecord, field: &Field<'_>, ledger: &mut Ledger) -> Result<(), Fault> {
    match field.number {
        1 => record.time_ns = field.fixed64("timeUnixNano")?,
        2 => record.severity_number = field.int32("severityNumber")?,
        3 => record.severity_text = text(field.bytes("severityText")?, ledger),
        5 => {
            ledger.spend::<AnyValue>(1)?;
            record.body = storable(any_value(field.bytes("body")?, 0, ledger)?, ledger);
        }
        6 => record.attributes.push(key_value(field.bytes("attributes")?, 0, ledger)?),
        7 => record.dropped_attributes_count = field.uint32("droppedAttributesCount")?,
        8 => record.flags = field.fixed32("flags")?,
        9 => record.trace_id = id_or_none(field.bytes("traceId")?, "trace_id_length", ledger),
        10 => record.span_id = id_or_none(field.bytes("spanId")?, "span_id_length", ledger),
        11 => record.observed_ns = field.fixed64("observedTimeUnixNano")?,
        12 => record.event_name = text(field.bytes("eventName")?, ledger),
        _ => record.unknown_fields.extend_from_slice(field.raw),
    }
    Ok(())
}
