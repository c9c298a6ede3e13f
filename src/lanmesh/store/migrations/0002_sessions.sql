-- An agent that asks is a session of the gateway beside this node; so is one that does a task.

ALTER TABLE tasks ADD COLUMN session TEXT;   -- at the asker: the session that asked; NULL for a person or a program
ALTER TABLE tasks ADD COLUMN read_at REAL;   -- at the asker: when that session had the outcome
ALTER TABLE tasks ADD COLUMN told_at REAL;   -- at the asker: when that session was shown that there is one
ALTER TABLE tasks ADD COLUMN host_boot TEXT; -- at the doer: the boot of the gateway that runs the claimed attempt
ALTER TABLE inbox ADD COLUMN told_at REAL;   -- of a message: when the main session was shown that it came

CREATE INDEX tasks_by_session ON tasks (session, seq) WHERE session IS NOT NULL;
