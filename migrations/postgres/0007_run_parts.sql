-- A trace may hold a run for each of its outermost GenAI steps. The row of the trace is `split` then and in no list; the
-- rows of its parts name it, and their steps are stored under it. A part whose steps another run took in names that.
ALTER TABLE runs ADD COLUMN split boolean NOT NULL DEFAULT false;
ALTER TABLE runs ADD COLUMN part_of uuid;
ALTER TABLE runs ADD COLUMN merged_into uuid;
ALTER TABLE runs ADD COLUMN contents uuid;

CREATE INDEX runs_parts ON runs (project_id, part_of) WHERE part_of IS NOT NULL;
