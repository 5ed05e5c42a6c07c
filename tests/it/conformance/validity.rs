//! What one span or record may hold: OTLP-81 to OTLP-96.
