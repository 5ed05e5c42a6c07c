//! Content types and the form of answers: OTLP-14 to OTLP-19.
