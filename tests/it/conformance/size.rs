//! Sizes, compression and abuse: OTLP-42 to OTLP-50.
