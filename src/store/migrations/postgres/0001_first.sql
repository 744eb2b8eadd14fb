-- The first schema. All times are milliseconds since 1970 UTC; flags are 0 or 1; `body` holds versioned JSON that
-- only src/store/rows.rs reads and writes (a delivery's body is its raw bytes). Never edit a migration that has
-- been released: add the next one.
-- The twin of SQLite's, with BIGINT for INTEGER, BYTEA for BLOB, IDENTITY for AUTOINCREMENT and without STRICT; only
-- the function at the end has no counterpart.

-- Numbers that count up inside transactions. A row, not a sequence: a number is visible only together with what it
-- numbers, and in order, so a reader that remembers the last one it saw misses nothing.
CREATE TABLE counters (
    name  TEXT    NOT NULL PRIMARY KEY,
    value BIGINT  NOT NULL
);
INSERT INTO counters (name, value) VALUES ('change', 0);

-- The inbox.
CREATE TABLE deliveries (
    seq         BIGINT  NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    platform    TEXT    NOT NULL,
    delivery_id TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    target      TEXT    NOT NULL,
    headers     TEXT    NOT NULL,
    body        BYTEA   NOT NULL,
    received_at BIGINT  NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('pending', 'done', 'parked')),
    note        TEXT    NOT NULL,
    due         BIGINT  NOT NULL,
    attempts    BIGINT  NOT NULL,
    epoch       BIGINT  NOT NULL,
    lease_until BIGINT,
    settled_at  BIGINT,
    UNIQUE (platform, delivery_id)
);
CREATE INDEX deliveries_by_state ON deliveries (state, seq);

-- What caused a commit, for ever.
CREATE TABLE accepted (
    key TEXT    NOT NULL PRIMARY KEY,
    at  BIGINT  NOT NULL
);

-- Runs as they are now. `change` counts up over all runs.
CREATE TABLE runs (
    id         TEXT    NOT NULL PRIMARY KEY,
    version    BIGINT  NOT NULL,
    change     BIGINT  NOT NULL UNIQUE,
    pipeline   TEXT    NOT NULL,
    ticket     TEXT,
    state      TEXT    NOT NULL CHECK (state IN ('queued', 'active', 'stopped', 'finished')),
    live       BIGINT  NOT NULL CHECK (live IN (0, 1)),
    asked_at   BIGINT  NOT NULL,
    updated_at BIGINT  NOT NULL,
    body       TEXT    NOT NULL
);
CREATE INDEX runs_by_age ON runs (asked_at, id);
CREATE INDEX runs_by_state ON runs (state);
CREATE INDEX runs_by_ticket ON runs (ticket, asked_at) WHERE ticket IS NOT NULL;

CREATE TABLE history (
    run_id TEXT    NOT NULL REFERENCES runs (id),
    seq    BIGINT  NOT NULL,
    at     BIGINT  NOT NULL,
    body   TEXT    NOT NULL,
    PRIMARY KEY (run_id, seq)
);

-- Threads in which a run can be spoken to.
CREATE TABLE run_threads (
    thread TEXT NOT NULL,
    run_id TEXT NOT NULL REFERENCES runs (id),
    PRIMARY KEY (thread, run_id)
);

-- Queues for locks: the lowest place holds the lock.
CREATE TABLE locks (
    name   TEXT    NOT NULL,
    place  BIGINT  NOT NULL,
    run_id TEXT    NOT NULL REFERENCES runs (id),
    PRIMARY KEY (name, run_id),
    UNIQUE (name, place)
);
CREATE INDEX locks_by_run ON locks (run_id);

-- The outbox. `unclear`: an earlier claim may have had its effect.
CREATE TABLE effects (
    id          BIGINT  NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key         TEXT    NOT NULL UNIQUE,
    run_id      TEXT    REFERENCES runs (id),
    lane        BIGINT  NOT NULL,
    body        TEXT    NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('pending', 'done', 'parked')),
    due         BIGINT  NOT NULL,
    since       BIGINT  NOT NULL,
    failures    BIGINT  NOT NULL,
    reason      TEXT    NOT NULL,
    epoch       BIGINT  NOT NULL,
    generation  BIGINT  NOT NULL,
    lease_until BIGINT,
    unclear     BIGINT  NOT NULL CHECK (unclear IN (0, 1)),
    settled_at  BIGINT
);
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
    at             BIGINT  NOT NULL,
    opened         TEXT,
    PRIMARY KEY (run, thread, purpose)
);

-- Heads of pull requests, in the order in which they were first heard of.
CREATE TABLE heads (
    seq  BIGINT  NOT NULL GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pr   TEXT    NOT NULL,
    at   BIGINT  NOT NULL,
    head TEXT    NOT NULL,
    UNIQUE (pr, at, head)
);

-- The time that leases go by, in milliseconds since 1970 UTC: the database's own. What the asking process takes for
-- the time is handed in and not believed; clocks of several machines differ.
CREATE FUNCTION stepherd_now(BIGINT) RETURNS BIGINT LANGUAGE sql VOLATILE
    AS 'SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)';
