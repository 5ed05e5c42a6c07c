//! Success, partial success and errors: OTLP-29 to OTLP-41.
