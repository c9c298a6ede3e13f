-- Tasks that somebody wants ended before their time.

ALTER TABLE tasks ADD COLUMN canceling TEXT;   -- who wants it ended, until it is known whether it has; NULL: nobody
ALTER TABLE tasks ADD COLUMN not_stopped TEXT; -- why it goes on although somebody wanted it ended
ALTER TABLE inbox ADD COLUMN about TEXT;       -- of a cancel: the wire_id of the task that is to end

CREATE INDEX tasks_by_parent ON tasks (parent) WHERE parent IS NOT NULL;
CREATE INDEX inbox_cancels ON inbox (origin, about) WHERE about IS NOT NULL;
