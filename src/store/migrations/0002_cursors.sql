-- How far something that is read bit by bit was read, and who reads it now.
CREATE TABLE cursors (
    name        TEXT    NOT NULL PRIMARY KEY,
    value       TEXT,
    due         INTEGER NOT NULL,
    epoch       INTEGER NOT NULL,
    lease_until INTEGER
) STRICT;
