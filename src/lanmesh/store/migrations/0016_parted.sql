-- What was between this node and a peer that was unpaired since: whoever bears its name next has no part in it.

ALTER TABLE tasks ADD COLUMN parted INTEGER NOT NULL DEFAULT 0; -- 1 once its peer was unpaired
ALTER TABLE files ADD COLUMN parted INTEGER NOT NULL DEFAULT 0; -- the same
