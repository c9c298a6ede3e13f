-- What nobody waits for any more, and what lies here although it was given up, is found at once.

CREATE INDEX blobs_coming ON blobs (origin, sha256) WHERE whole_at IS NULL;
CREATE INDEX files_left ON files (seq) WHERE place IS NOT NULL AND error IS NOT NULL;
