-- Tenants and their API keys. Of a key only the hash is kept.
-- Times are RFC 3339 in UTC, which sorts as text.

CREATE TABLE projects (
    project_id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    created_at TEXT NOT NULL
) STRICT;

CREATE TABLE api_keys (
    key_id TEXT PRIMARY KEY NOT NULL,
    project_id INTEGER NOT NULL REFERENCES projects,
    name TEXT,
    scopes TEXT NOT NULL,
    quota TEXT NOT NULL,
    secret_hash BLOB NOT NULL CHECK (length(secret_hash) = 32),
    created_at TEXT NOT NULL,
    expires_at TEXT,
    revoked_at TEXT,
    last_used_at TEXT
) STRICT;
