-- Times are seconds since the Unix epoch. Texts from peers are data: nothing here is ever executed.

CREATE TABLE tasks (
    seq            INTEGER PRIMARY KEY,  -- the order in which this node learned of them
    local_id       TEXT NOT NULL UNIQUE, -- made here; 26 characters of lower-case base32
    wire_id        TEXT NOT NULL,        -- made by the asker
    origin         TEXT NOT NULL,        -- who sent it, as proven; 'self' for what we asked of a peer
    peer           TEXT NOT NULL,        -- whom we asked, or the name the asker gave
    description    TEXT NOT NULL,        -- what is to be done, in the asker's words
    mode           TEXT NOT NULL,        -- callback, fire-and-forget, wait
    timeout_s      REAL NOT NULL,        -- how long a run may take, from its claim
    reply_key      TEXT,                 -- the asker's secret that every result must carry
    parent         TEXT,                 -- local_id of the task here whose run delegated this one
    root_id        TEXT NOT NULL,        -- wire_id of the task that began the chain
    path           TEXT NOT NULL,        -- names of the nodes that delegated, separated by commas
    hops           INTEGER NOT NULL,     -- delegations so far
    state          TEXT NOT NULL,        -- see model/task.py
    waiting_for    TEXT,                 -- 'approval' while the owner has not decided
    needs_approval INTEGER NOT NULL,     -- 1 if it came while the owner wanted to be asked
    attempt        INTEGER NOT NULL,     -- how often it was claimed
    boot           TEXT,                 -- which boot of this node holds the claim
    repeatable     INTEGER NOT NULL,     -- 1 if an interrupted run may be done again; set by the claim
    result         TEXT,                 -- what came of it
    truncated      INTEGER NOT NULL,     -- 1 if there was more of it
    error_code     TEXT,                 -- why there is no result
    error_detail   TEXT,
    version        INTEGER NOT NULL,     -- grows with every change
    seen_version   INTEGER NOT NULL,     -- at the asker: the version in the doer's latest report
    created_at     REAL NOT NULL,
    started_at     REAL,                 -- when the latest claim was made
    finished_at    REAL,
    UNIQUE (origin, wire_id)
) STRICT;

CREATE INDEX tasks_by_state ON tasks (state, seq);
CREATE INDEX tasks_by_wire_id ON tasks (wire_id);

CREATE TABLE task_events (
    seq      INTEGER PRIMARY KEY,
    local_id TEXT NOT NULL,              -- the task
    version  INTEGER NOT NULL,           -- the task's version from then on
    at       REAL NOT NULL,
    event    TEXT NOT NULL,              -- what happened
    state    TEXT NOT NULL,              -- the task's state from then on
    detail   TEXT NOT NULL               -- for people
) STRICT;

CREATE INDEX task_events_by_task ON task_events (local_id, seq);

CREATE TABLE inbox (
    seq         INTEGER PRIMARY KEY,
    origin      TEXT NOT NULL,           -- who sent the envelope, as proven
    wire_id     TEXT NOT NULL,           -- its id; seen once for all within one origin
    digest      BLOB NOT NULL,           -- SHA-256 of what may not differ in a repeat
    type        TEXT NOT NULL,           -- message, task, result
    sender      TEXT NOT NULL,           -- the name the sender gave
    text        TEXT,                    -- of a message: what it says
    task        TEXT,                    -- of a task or a result: local_id
    received_at REAL NOT NULL,
    read_at     REAL,                    -- of a message: when it was shown; NULL while unread
    UNIQUE (origin, wire_id)
) STRICT;

CREATE INDEX inbox_by_type ON inbox (type, seq);

CREATE TABLE outbox (
    seq        INTEGER PRIMARY KEY,      -- the order in which it was said
    wire_id    TEXT NOT NULL UNIQUE,     -- the envelope's id, kept through every attempt
    peer       TEXT NOT NULL,            -- to whom
    task       TEXT,                     -- local_id of the task that it is about
    envelope   BLOB NOT NULL,            -- as it goes out, but for the time left
    state      TEXT NOT NULL,            -- see model/delivery.py
    attempts   INTEGER NOT NULL,
    due_at     REAL,                     -- when to try next; NULL once nothing more is tried
    expires_at REAL NOT NULL,
    error      TEXT,                     -- why the last attempt came to nothing
    created_at REAL NOT NULL
) STRICT;

CREATE INDEX outbox_due ON outbox (peer, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX outbox_by_task ON outbox (task, seq);

CREATE TABLE peers (
    id         TEXT PRIMARY KEY,         -- the name under which it is configured
    heard_at   REAL,                     -- when it last sent something
    reached_at REAL,                     -- when it last answered
    failed_at  REAL,                     -- when it last failed to
    error      TEXT,                     -- why
    profile    BLOB,                     -- the profile it last showed, as it came
    profile_at REAL                      -- when
) STRICT;

CREATE TABLE settings (
    key   TEXT PRIMARY KEY,              -- what the owner decided at run time
    value TEXT NOT NULL
) STRICT;
