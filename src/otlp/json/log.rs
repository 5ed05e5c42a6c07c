//! One log record in OTLP/JSON.

use crate::model::log::LogRecord;
use crate::model::value::AnyValue;
use crate::otlp::fault::Fault;
use crate::otlp::intake::Ledger;
use crate::otlp::json::Readable;
use crate::otlp::json::cursor::Cursor;
use crate::otlp::json::names::pass_over;
use crate::otlp::json::scalar::{enumeration, hex_or_none, int};
use crate::otlp::json::value::{any_value, attributes};
use crate::otlp::rules::{id_or_none, settle, storable};

const SEVERITIES: [&str; 25] = [
    "SEVERITY_NUMBER_UNSPECIFIED",
    "SEVERITY_NUMBER_TRACE",
    "SEVERITY_NUMBER_TRACE2",
    "SEVERITY_NUMBER_TRACE3",
    "SEVERITY_NUMBER_TRACE4",
    "SEVERITY_NUMBER_DEBUG",
    "SEVERITY_NUMBER_DEBUG2",
    "SEVERITY_NUMBER_DEBUG3",
    "SEVERITY_NUMBER_DEBUG4",
    "SEVERITY_NUMBER_INFO",
    "SEVERITY_NUMBER_INFO2",
    "SEVERITY_NUMBER_INFO3",
    "SEVERITY_NUMBER_INFO4",
    "SEVERITY_NUMBER_WARN",
    "SEVERITY_NUMBER_WARN2",
    "SEVERITY_NUMBER_WARN3",
    "SEVERITY_NUMBER_WARN4",
    "SEVERITY_NUMBER_ERROR",
    "SEVERITY_NUMBER_ERROR2",
    "SEVERITY_NUMBER_ERROR3",
    "SEVERITY_NUMBER_ERROR4",
    "SEVERITY_NUMBER_FATAL",
    "SEVERITY_NUMBER_FATAL2",
    "SEVERITY_NUMBER_FATAL3",
    "SEVERITY_NUMBER_FATAL4",
];

impl Readable for LogRecord {
    fn read(mut cursor: Cursor<'_>, ledger: &mut Ledger) -> Result<LogRecord, Fault> {
        if cursor.peek() != b'{' {
            return Err(Fault::JsonType { field: "a log record", expected: "an object" });
        }
        let mut record = LogRecord::default();
        let (mut trace_id, mut span_id) = (Vec::new(), Vec::new());
        cursor.object("a log record", |name, value| {
            match name {
                "timeUnixNano" => record.time_ns = int(value, "timeUnixNano")?,
                "observedTimeUnixNano" => record.observed_ns = int(value, "observedTimeUnixNano")?,
                "severityNumber" => record.severity_number = enumeration(value, "severityNumber", &SEVERITIES, ledger)?,
                "severityText" => record.severity_text = value.string("severityText", ledger)?,
                "eventName" => record.event_name = value.string("eventName", ledger)?,
                "body" => {
                    ledger.spend::<AnyValue>(1)?;
                    record.body = storable(any_value(value, 0, ledger)?, ledger);
                }
                "attributes" => attributes(&mut record.attributes, value, ledger)?,
                "droppedAttributesCount" => record.dropped_attributes_count = int(value, "droppedAttributesCount")?,
                "flags" => record.flags = int(value, "flags")?,
                "traceId" => trace_id = hex_or_none(value, "traceId")?,
                "spanId" => span_id = hex_or_none(value, "spanId")?,
                _ => pass_over(name, value, ledger),
            }
            Ok(())
        })?;
        record.trace_id = id_or_none(&trace_id, "trace_id_length", ledger);
        record.span_id = id_or_none(&span_id, "span_id_length", ledger);
        record.duplicate_attributes = settle(&mut record.attributes);
        record.repairs = ledger.take_repairs();
        Ok(record)
    }
}
