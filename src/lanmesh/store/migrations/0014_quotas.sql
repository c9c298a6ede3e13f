-- What a caller's files take up here: those that are still to come, and each copy that lies here.

CREATE INDEX files_held ON files (origin, size) WHERE settled_at IS NULL OR place IS NOT NULL;
