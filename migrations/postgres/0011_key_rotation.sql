-- The secret that a key had before its last rotation, and until when it works.
ALTER TABLE api_keys
    ADD COLUMN previous_hash bytea CHECK (octet_length(previous_hash) = 32),
    ADD COLUMN previous_until timestamptz;
