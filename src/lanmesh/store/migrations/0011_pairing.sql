-- Peers that have proven their keys, and keys that were seen at first use.

CREATE TABLE pairings (
    session     TEXT PRIMARY KEY,        -- names the ceremony, the same on both sides
    peer        TEXT NOT NULL,           -- the name of the other node here
    node_id     TEXT NOT NULL,           -- its key
    certificate BLOB NOT NULL,           -- the one certificate that it may show, in DER
    host        TEXT NOT NULL,           -- where it is dialled
    port        INTEGER NOT NULL,
    token       TEXT NOT NULL,           -- what this node presents to it
    accepted    BLOB NOT NULL,           -- SHA-256 of what it presents to this node
    dialled     INTEGER NOT NULL,        -- 1 if this node dialled, 0 if it showed the code
    state       TEXT NOT NULL,           -- pending, paired, blocked; at most one row of a peer is not pending
    made_at     REAL NOT NULL            -- when the ceremony ended here
) STRICT;

CREATE INDEX pairings_by_peer ON pairings (peer);

CREATE TABLE pins (
    peer        TEXT PRIMARY KEY,        -- the name of a configured peer that is dialled by TLS
    certificate BLOB NOT NULL            -- what it showed at first use
) STRICT;
