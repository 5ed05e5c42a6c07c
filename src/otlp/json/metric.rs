//! One metric in OTLP/JSON: walked to count its data points, not kept.

use crate::otlp::Metric;
use crate::otlp::fault::Fault;
use crate::otlp::intake::Ledger;
use crate::otlp::json::Readable;
use crate::otlp::json::cursor::Cursor;
use crate::otlp::json::names::pass_over;

const KINDS: [&str; 5] = ["gauge", "sum", "histogram", "exponentialHistogram", "summary"];

impl Readable for Metric {
    fn read(mut cursor: Cursor<'_>, ledger: &mut Ledger) -> Result<Metric, Fault> {
        if cursor.peek() != b'{' {
            return Err(Fault::JsonType { field: "a metric", expected: "an object" });
        }
        let mut metric = Metric::default();
        cursor.object("a metric", |name, value| {
            if !KINDS.contains(&name) {
                pass_over(name, value, ledger);
                return Ok(());
            }
            value.object("the data of a metric", |name, value| {
                if name != "dataPoints" {
                    pass_over(name, value, ledger);
                    return Ok(());
                }
                value.array("dataPoints", |point| {
                    if point.peek() != b'{' {
                        return Err(Fault::JsonType { field: "a data point", expected: "an object" });
                    }
                    point.skip();
                    metric.points += 1;
                    Ok(())
                })
            })
        })?;
        Ok(metric)
    }
}
