-- What a run says while it goes on. Its words are events of the task as well, of which the latest are kept.

CREATE TABLE task_progress (
    local_id TEXT PRIMARY KEY            -- the task; apart from its row, which would be written anew each time
             REFERENCES tasks (local_id) ON DELETE CASCADE,
    text     TEXT NOT NULL               -- the latest words of the run that goes on
) STRICT;

CREATE INDEX task_events_of_progress ON task_events (local_id, seq) WHERE event = 'progress';
