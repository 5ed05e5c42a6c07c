//! Connections, shutdown and headers: OTLP-97 to OTLP-104.
