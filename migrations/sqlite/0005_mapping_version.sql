-- The version of the mapping that made a step out of its span: `vectoros remap` finds older ones by it. The steps of
-- before were made by version 1.
ALTER TABLE steps ADD COLUMN mapping INTEGER NOT NULL DEFAULT 1;
