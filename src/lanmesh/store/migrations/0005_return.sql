-- When a peer is back, it is asked of all that it has not reported the end of.

CREATE INDEX tasks_unsettled ON tasks (peer, seq) WHERE origin = 'self' AND (finished_at IS NULL OR assumed = 1);
