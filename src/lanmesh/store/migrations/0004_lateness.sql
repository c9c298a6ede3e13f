-- What comes late counts, and what was not delivered is kept to be sent again.

ALTER TABLE tasks ADD COLUMN assumed INTEGER NOT NULL DEFAULT 0; -- at the asker: 1 if its end is only assumed
UPDATE tasks SET assumed = 1 WHERE origin = 'self' AND finished_at IS NOT NULL AND seen_version = 0;

ALTER TABLE outbox ADD COLUMN settled_at REAL; -- since when nothing more is tried
ALTER TABLE outbox ADD COLUMN told_at REAL;    -- when the owner was shown that it came to nothing
UPDATE outbox SET settled_at = created_at WHERE due_at IS NULL;

CREATE INDEX outbox_undelivered ON outbox (seq) WHERE state NOT IN ('delivered', 'withdrawn');
