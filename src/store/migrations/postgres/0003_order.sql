-- Order within threads, and work that is bounded by whom it waits for.

-- `thread`: what the delivery has to stay in order with; empty if with nothing. `room`: whose answers it waited for
-- when there was no room for more; empty if it never did. `held_since`: when it first had to wait for the outside,
-- if it had to. `early`: 1 if it was last claimed before its turn, to see whether it may go first. `voided`: JSON, what
-- was stopped in its thread while it waited.
ALTER TABLE deliveries ADD COLUMN thread TEXT NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN room TEXT NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN held_since BIGINT;
ALTER TABLE deliveries ADD COLUMN early BIGINT NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN voided TEXT NOT NULL DEFAULT '';
-- Those that were taken up and are not dealt with: later ones of their threads wait for them.
CREATE INDEX deliveries_begun ON deliveries (thread, seq)
    WHERE state = 'pending' AND (lease_until IS NOT NULL OR held_since IS NOT NULL);

-- `room`: whose answers the effect needs; no more are claimed than may be out at once. `place`: what it has to stay
-- in order with; empty if with nothing.
ALTER TABLE effects ADD COLUMN room TEXT NOT NULL DEFAULT '';
ALTER TABLE effects ADD COLUMN place TEXT NOT NULL DEFAULT '';
CREATE INDEX effects_held ON effects (place) WHERE lease_until IS NOT NULL;
