-- Questions that a task asks back: at its doer, and mirrored at its asker.

ALTER TABLE tasks ADD COLUMN questions INTEGER NOT NULL DEFAULT 0; -- how many there are

CREATE TABLE task_questions (
    local_id TEXT NOT NULL,    -- the task
    attempt  INTEGER NOT NULL, -- which attempt has asked
    question TEXT NOT NULL,
    asked_at REAL NOT NULL,
    answer   TEXT,             -- NULL until it is answered
    told_at  REAL,             -- at the asker: when the session that asked for the task was shown it
    PRIMARY KEY (local_id, attempt)
) STRICT;

CREATE INDEX task_questions_open ON task_questions (asked_at) WHERE answer IS NULL;
