-- What is over is forgotten by age and by count; the indexes find it.

ALTER TABLE tasks ADD COLUMN settled_at REAL; -- when this node learned of the end, by its own clock
UPDATE tasks SET settled_at = finished_at WHERE finished_at IS NOT NULL;

CREATE INDEX tasks_settled ON tasks (settled_at) WHERE settled_at IS NOT NULL;
CREATE INDEX outbox_settled ON outbox (settled_at) WHERE settled_at IS NOT NULL;
CREATE INDEX inbox_read ON inbox (read_at) WHERE text IS NOT NULL AND read_at IS NOT NULL;
CREATE INDEX inbox_received ON inbox (received_at);
