//! OTLP/JSON in every legal spelling: OTLP-20 to OTLP-28.
