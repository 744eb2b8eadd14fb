-- What several processes on one database need, and what keeps storing cheap.

-- Bodies apart from the rows that change, and together with those that came in at the same time. `form`: 0 one body as
-- it came, with its headers; 1 a bundle (src/store/bundle.rs). `place`: which one of its bundle a delivery is.
CREATE TABLE bundles (
    id      INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    form    INTEGER NOT NULL CHECK (form IN (0, 1)),
    headers TEXT    NOT NULL,
    body    BLOB    NOT NULL
) STRICT;
INSERT INTO bundles (id, form, headers, body) SELECT seq, 0, headers, body FROM deliveries;
ALTER TABLE deliveries ADD COLUMN bundle INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN place INTEGER NOT NULL DEFAULT 0;
UPDATE deliveries SET bundle = seq;
CREATE INDEX deliveries_by_bundle ON deliveries (bundle);
ALTER TABLE deliveries ADD COLUMN body_bytes INTEGER NOT NULL DEFAULT 0;
UPDATE deliveries SET body_bytes = length(body);
ALTER TABLE deliveries DROP COLUMN body;
ALTER TABLE deliveries DROP COLUMN headers;

-- What is done is most of it, and nobody looks for it by its state.
DROP INDEX deliveries_by_state;
CREATE INDEX deliveries_pending ON deliveries (seq) WHERE state = 'pending';
CREATE INDEX deliveries_parked ON deliveries (seq) WHERE state = 'parked';
DROP INDEX effects_by_state;
CREATE INDEX effects_parked ON effects (id) WHERE state = 'parked';

-- `shard`: which part of all runs it belongs to; parts are shared out among the processes. `wake_at`: when it is to
-- be looked at next as far as the last commit knew; null if never.
ALTER TABLE runs ADD COLUMN shard INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN wake_at INTEGER;
UPDATE runs SET shard = (unicode(substr(id, 1, 1)) * 31 + unicode(substr(id, 2, 1)) * 7) % 64;
UPDATE runs SET wake_at = updated_at WHERE live = 1;
DROP INDEX runs_by_state;
CREATE INDEX runs_live ON runs (shard, id) WHERE live = 1;
CREATE INDEX runs_live_by_age ON runs (asked_at, id) WHERE live = 1;
CREATE INDEX runs_live_by_state ON runs (state) WHERE live = 1;
CREATE INDEX runs_ended ON runs (updated_at) WHERE live = 0;

-- Which runs a pull request is about: those that opened it, and those that were asked for on it.
CREATE TABLE run_prs (
    pr     TEXT NOT NULL,
    head   TEXT NOT NULL,
    run_id TEXT NOT NULL REFERENCES runs (id),
    PRIMARY KEY (pr, head, run_id)
) STRICT;
CREATE INDEX run_prs_by_head ON run_prs (head);
CREATE INDEX run_prs_by_run ON run_prs (run_id);
INSERT INTO run_prs (pr, head, run_id)
SELECT json_extract(opened.value, '$.pr.repo') || '#' || json_extract(opened.value, '$.pr.number'),
    json_extract(opened.value, '$.head'), runs.id
FROM runs, json_each(runs.body, '$.run.prs') AS opened WHERE true
ON CONFLICT DO NOTHING;
INSERT INTO run_prs (pr, head, run_id)
SELECT json_extract(body, '$.run.subject.pinned.pr.repo') || '#' || json_extract(body, '$.run.subject.pinned.pr.number'),
    json_extract(body, '$.run.subject.pinned.head'), id
FROM runs WHERE json_extract(body, '$.run.subject.pinned.head') IS NOT NULL
ON CONFLICT DO NOTHING;
CREATE INDEX run_threads_by_run ON run_threads (run_id);
CREATE INDEX messages_by_run ON messages (run);

-- The processes that work on this database, and the shards they hold.
CREATE TABLE replicas (
    id          TEXT    NOT NULL PRIMARY KEY,
    lease_until INTEGER NOT NULL
) STRICT;
CREATE TABLE shards (
    shard       INTEGER NOT NULL PRIMARY KEY,
    replica     TEXT,
    lease_until INTEGER NOT NULL
) STRICT;
WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < 63)
INSERT INTO shards (shard, lease_until) SELECT n, 0 FROM numbers;

-- Vendors that have asked to be left alone, by all processes.
CREATE TABLE pauses (
    vendor TEXT    NOT NULL PRIMARY KEY,
    until  INTEGER NOT NULL
) STRICT;

-- Work that one process does from time to time, and how far it has come.
CREATE TABLE cursors (
    name        TEXT    NOT NULL PRIMARY KEY,
    value       TEXT,
    due         INTEGER NOT NULL,
    epoch       INTEGER NOT NULL,
    lease_until INTEGER
) STRICT;
CREATE INDEX accepted_by_age ON accepted (at);
