-- How each delivery proved where it comes from: `body_signed`, `token`, `automation` or `repaired`. What was stored
-- before is believed as little as possible: `token`, so that whatever it says is read again.
ALTER TABLE deliveries ADD COLUMN proof TEXT NOT NULL DEFAULT 'token';
UPDATE deliveries SET proof = 'repaired' WHERE kind LIKE '%(repaired)';
-- Only Automation sent bodies without an event's name.
UPDATE deliveries SET proof = 'automation' WHERE platform = 'jira' AND kind = 'automation';
