-- How often a run changed after it had counted as final.
ALTER TABLE runs ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
