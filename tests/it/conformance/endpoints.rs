//! Paths, methods and ports: OTLP-01 to OTLP-13.
