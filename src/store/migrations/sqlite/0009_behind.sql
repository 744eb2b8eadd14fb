-- When a delivery was first put back behind others of its thread: it waits so long for them and no longer.
ALTER TABLE deliveries ADD COLUMN behind_since INTEGER;
