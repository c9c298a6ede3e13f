-- Where a paired peer was reached last, if that was elsewhere than where it was paired.

ALTER TABLE pairings ADD COLUMN last_host TEXT;    -- NULL: where it was paired
ALTER TABLE pairings ADD COLUMN last_port INTEGER;
