-- The first schema. All times are milliseconds since 1970 UTC; flags are 0 or 1; `body` holds versioned JSON that
-- only src/store/rows.rs reads and writes (a delivery's body is its raw bytes). Never edit a migration that has
-- been released: add the next one.
--
-- For PostgreSQL this file has a twin with BIGINT for INTEGER, BYTEA for BLOB, GENERATED ALWAYS AS IDENTITY for
-- AUTOINCREMENT and without STRICT; nothing else differs.

-- Numbers that count up inside transactions. A row, not a sequence: a number is visible only together with what it
-- numbers, and in order, so a reader that remembers the last one it saw misses nothing.
CREATE TABLE counters (
    name  TEXT    NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;
INSERT INTO counters (name, value) VALUES ('change', 0);

-- The inbox.
CREATE TABLE deliveries (
    seq         INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    platform    TEXT    NOT NULL,
    delivery_id TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    target      TEXT    NOT NULL,
    headers     TEXT    NOT NULL,
    body        BLOB    NOT NULL,
    received_at INTEGER NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('pending', 'done', 'parked')),
    note        TEXT    NOT NULL,
    due         INTEGER NOT NULL,
    attempts    INTEGER NOT NULL,
    epoch       INTEGER NOT NULL,
    lease_until INTEGER,
    settled_at  INTEGER,
    UNIQUE (platform, delivery_id)
) STRICT;
CREATE INDEX deliveries_by_state ON deliveries (state, seq);

-- What caused a commit, for ever.
CREATE TABLE accepted (
    key TEXT    NOT NULL PRIMARY KEY,
    at  INTEGER NOT NULL
) STRICT;

-- Runs as they are now. `change` counts up over all runs.
CREATE TABLE runs (
    id         TEXT    NOT NULL PRIMARY KEY,
    version    INTEGER NOT NULL,
    change     INTEGER NOT NULL UNIQUE,
    pipeline   TEXT    NOT NULL,
    ticket     TEXT,
    state      TEXT    NOT NULL CHECK (state IN ('queued', 'active', 'stopped', 'finished')),
    live       INTEGER NOT NULL CHECK (live IN (0, 1)),
    asked_at   INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    body       TEXT    NOT NULL
) STRICT;
CREATE INDEX runs_by_age ON runs (asked_at, id);
CREATE INDEX runs_by_state ON runs (state);
CREATE INDEX runs_by_ticket ON runs (ticket, asked_at) WHERE ticket IS NOT NULL;

CREATE TABLE history (
    run_id TEXT    NOT NULL REFERENCES runs (id),
    seq    INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    body   TEXT    NOT NULL,
    PRIMARY KEY (run_id, seq)
) STRICT;

-- Threads in which a run can be spoken to.
CREATE TABLE run_threads (
    thread TEXT NOT NULL,
    run_id TEXT NOT NULL REFERENCES runs (id),
    PRIMARY KEY (thread, run_id)
) STRICT;

-- Queues for locks: the lowest place holds the lock.
CREATE TABLE locks (
    name   TEXT    NOT NULL,
    place  INTEGER NOT NULL,
    run_id TEXT    NOT NULL REFERENCES runs (id),
    PRIMARY KEY (name, run_id),
    UNIQUE (name, place)
) STRICT;
CREATE INDEX locks_by_run ON locks (run_id);

-- The outbox. `unclear`: an earlier claim may have had its effect.
CREATE TABLE effects (
    id          INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    key         TEXT    NOT NULL UNIQUE,
    run_id      TEXT    REFERENCES runs (id),
    lane        INTEGER NOT NULL,
    body        TEXT    NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('pending', 'done', 'parked')),
    due         INTEGER NOT NULL,
    since       INTEGER NOT NULL,
    failures    INTEGER NOT NULL,
    reason      TEXT    NOT NULL,
    epoch       INTEGER NOT NULL,
    generation  INTEGER NOT NULL,
    lease_until INTEGER,
    unclear     INTEGER NOT NULL CHECK (unclear IN (0, 1)),
    settled_at  INTEGER
) STRICT;
CREATE INDEX effects_pending ON effects (lane, due, id) WHERE state = 'pending';
CREATE INDEX effects_by_state ON effects (state, id);
CREATE INDEX effects_by_run ON effects (run_id, id);

-- Messages of ours that stand. `run` is empty for messages that belong to no run.
CREATE TABLE messages (
    run            TEXT    NOT NULL,
    thread         TEXT    NOT NULL,
    purpose        TEXT    NOT NULL,
    message_thread TEXT    NOT NULL,
    message_id     TEXT    NOT NULL,
    digest         TEXT    NOT NULL,
    at             INTEGER NOT NULL,
    opened         TEXT,
    PRIMARY KEY (run, thread, purpose)
) STRICT;

-- Heads of pull requests, in the order in which they were first heard of.
CREATE TABLE heads (
    seq  INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    pr   TEXT    NOT NULL,
    at   INTEGER NOT NULL,
    head TEXT    NOT NULL,
    UNIQUE (pr, at, head)
) STRICT;
