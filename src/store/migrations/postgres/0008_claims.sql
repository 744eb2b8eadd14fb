-- Claims read no more of what is pending than they take: by whose answer it needs, what is urgent first, what is due.
DROP INDEX effects_pending;
CREATE INDEX effects_due ON effects (room, lane, due, id, place) WHERE state = 'pending';

-- Deliveries in the order of arrival until they have had to wait for the outside; then by when they are due.
CREATE INDEX deliveries_fresh ON deliveries (room, seq) WHERE state = 'pending' AND held_since IS NULL;
CREATE INDEX deliveries_waiting ON deliveries (room, due, seq) WHERE state = 'pending' AND held_since IS NOT NULL;
