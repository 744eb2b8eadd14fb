-- Keys are compared byte by byte, as SQLite does, so that those with the same beginning stand side by side.
ALTER TABLE accepted ALTER COLUMN key TYPE TEXT COLLATE "C";
