//! Keys, headers, CORS, TLS, sockets and health: OTLP-64 to OTLP-80.
