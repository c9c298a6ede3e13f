-- Files that envelopes name. Their bytes lie beside the database, by hash (shelf.py).

CREATE TABLE blobs (
    origin  TEXT NOT NULL,               -- whose bytes: 'self', or who announced them, as proven
    sha256  TEXT NOT NULL,
    size    INTEGER NOT NULL,
    whole_at REAL,                       -- when all of them were here; NULL: some are still to come
    faults  INTEGER NOT NULL DEFAULT 0,  -- how often what came did not fit the hash
    seen_at REAL NOT NULL,               -- when they were last named or kept
    PRIMARY KEY (origin, sha256)         -- each origin has to send them itself: knowing a hash opens nothing
) STRICT, WITHOUT ROWID;

CREATE TABLE files (
    seq        INTEGER PRIMARY KEY,
    origin     TEXT NOT NULL,            -- whose bytes, as in blobs
    sha256     TEXT NOT NULL,
    size       INTEGER NOT NULL,
    name       TEXT NOT NULL,            -- a label
    media      TEXT NOT NULL,
    envelope   TEXT NOT NULL,            -- wire_id of the envelope that names it; '' if none was sent
    peer       TEXT NOT NULL,            -- to whom it goes, or from whom it comes
    reader     TEXT,                     -- of ours: the origin that may read it
    task       TEXT,                     -- local_id of the task that it belongs to; NULL: to a message
    made       INTEGER NOT NULL,         -- 1 if the task's doer has made it
    settled_at REAL,                     -- when it was where it belongs, or was given up
    error      TEXT,                     -- why it was given up
    place      TEXT                      -- of theirs: where it was laid, below the folder of work
) STRICT;

CREATE INDEX files_by_blob ON files (sha256, origin);
CREATE INDEX files_by_task ON files (task, seq) WHERE task IS NOT NULL;
CREATE INDEX files_by_envelope ON files (envelope, origin) WHERE task IS NULL;
CREATE INDEX files_unsettled ON files (origin, peer, seq) WHERE settled_at IS NULL;

CREATE TRIGGER files_of_tasks AFTER DELETE ON tasks BEGIN
    DELETE FROM files WHERE task = OLD.local_id;
END;

CREATE TRIGGER files_of_sent_messages AFTER DELETE ON outbox WHEN OLD.task IS NULL BEGIN
    DELETE FROM files WHERE task IS NULL AND envelope = OLD.wire_id AND origin = 'self';
END;

CREATE TRIGGER files_of_read_messages AFTER UPDATE OF text ON inbox
WHEN NEW.text IS NULL AND OLD.text IS NOT NULL BEGIN
    DELETE FROM files WHERE task IS NULL AND envelope = OLD.wire_id AND origin = OLD.origin;
END;

CREATE INDEX blobs_by_hash ON blobs (sha256);

CREATE INDEX tasks_short_of_files ON tasks (created_at) WHERE waiting_for = 'files' AND origin <> 'self';
