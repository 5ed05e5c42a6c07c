//! Overload, hints when to try again, time: OTLP-51 to OTLP-63.
