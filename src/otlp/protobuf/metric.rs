//! One metric on its own slice: walked to count its data points, not kept.

use crate::otlp::Metric;
use crate::otlp::fault::Fault;
use crate::otlp::intake::Ledger;
use crate::otlp::protobuf::Readable;
use crate::otlp::wire::Reader;

impl Readable for Metric {
    fn read(message: &[u8], _ledger: &mut Ledger) -> Result<Metric, Fault> {
        let mut metric = Metric::default();
        let mut kind_is_unknown = false;
        for field in Reader::new(message) {
            let field = field?;
            match field.number {
                // Gauge, sum, histogram, exponential histogram, summary.
                5 | 7 | 9 | 10 | 11 => metric.points += points(field.bytes("data")?)?,
                // Name, description, unit and metadata.
                1..=3 | 12 => {}
                _ => kind_is_unknown = true,
            }
        }
        if kind_is_unknown && metric.points == 0 { Err(Fault::MetricKind) } else { Ok(metric) }
    }
}

/// In every kind of data field 1 is a data point.
fn points(data: &[u8]) -> Result<u64, Fault> {
    let mut points = 0;
    for field in Reader::new(data) {
        let field = field?;
        if field.number == 1 {
            for inner in Reader::new(field.bytes("dataPoints")?) {
                inner?;
            }
            points += 1;
        }
    }
    Ok(points)
}
