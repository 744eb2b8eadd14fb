-- What several processes on one database need, and what keeps storing cheap.

-- Bodies apart from the rows that change: to claim or settle a delivery no longer writes its body again.
-- `form`: 0 as it came, 1 an LZ4 block behind its length.
CREATE TABLE delivery_bodies (
    seq     BIGINT  NOT NULL PRIMARY KEY,
    form    BIGINT  NOT NULL CHECK (form IN (0, 1)),
    headers TEXT    NOT NULL,
    body    BYTEA   NOT NULL
);
INSERT INTO delivery_bodies (seq, form, headers, body) SELECT seq, 0, headers, body FROM deliveries;
ALTER TABLE deliveries ADD COLUMN body_bytes BIGINT  NOT NULL DEFAULT 0;
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
ALTER TABLE runs ADD COLUMN shard BIGINT  NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN wake_at BIGINT;
UPDATE runs SET shard = (ascii(substr(id, 1, 1)) * 31 + ascii(substr(id, 2, 1)) * 7) % 64;
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
);
CREATE INDEX run_prs_by_head ON run_prs (head);
CREATE INDEX run_prs_by_run ON run_prs (run_id);
INSERT INTO run_prs (pr, head, run_id)
SELECT (opened.value -> 'pr' ->> 'repo') || '#' || (opened.value -> 'pr' ->> 'number'), opened.value ->> 'head', runs.id
FROM runs, json_each(CAST(runs.body AS json) -> 'run' -> 'prs') AS opened
ON CONFLICT DO NOTHING;
INSERT INTO run_prs (pr, head, run_id)
SELECT (pinned -> 'pr' ->> 'repo') || '#' || (pinned -> 'pr' ->> 'number'), pinned ->> 'head', id
FROM (SELECT id, CAST(body AS json) -> 'run' -> 'subject' -> 'pinned' AS pinned FROM runs) AS subjects
WHERE pinned ->> 'head' IS NOT NULL
ON CONFLICT DO NOTHING;
CREATE INDEX run_threads_by_run ON run_threads (run_id);
CREATE INDEX messages_by_run ON messages (run);

-- The processes that work on this database, and the shards they hold.
CREATE TABLE replicas (
    id          TEXT    NOT NULL PRIMARY KEY,
    lease_until BIGINT  NOT NULL
);
CREATE TABLE shards (
    shard       BIGINT  NOT NULL PRIMARY KEY,
    replica     TEXT,
    lease_until BIGINT  NOT NULL
);
INSERT INTO shards (shard, lease_until) SELECT n, 0 FROM generate_series(0, 63) AS n;

-- Vendors that have asked to be left alone, by all processes.
CREATE TABLE pauses (
    vendor TEXT    NOT NULL PRIMARY KEY,
    until  BIGINT  NOT NULL
);

-- Work that one process does from time to time, and how far it has come.
CREATE TABLE cursors (
    name        TEXT    NOT NULL PRIMARY KEY,
    value       TEXT,
    due         BIGINT  NOT NULL,
    epoch       BIGINT  NOT NULL,
    lease_until BIGINT
);
CREATE INDEX accepted_by_age ON accepted (at);
-- Keys are compared byte by byte, as SQLite does, so that those with the same beginning stand side by side.
ALTER TABLE accepted ALTER COLUMN key TYPE TEXT COLLATE "C";
