-- The queue of tasks that wait for their owner's word; told_at: when the owner was shown that one does.

CREATE INDEX tasks_awaiting ON tasks (created_at, seq) WHERE waiting_for = 'approval' AND origin <> 'self';
