"""names of the gateway's sessions: which of them does which task"""

from lanmesh.model.ids import LocalId

_MARK = ":lan-task:"


def of_task(agent: str, task: LocalId) -> str:
    """Return the session in which an agent does a task; the gateway lower-cases such names."""
    return f"agent:{agent}{_MARK}{task}".lower()


def task_of(session: str | None) -> LocalId | None:
    """Return the task that a session does; `None` if it does none."""
    _, mark, task = (session or "").rpartition(_MARK)
    return LocalId(task) if mark and task else None


def is_helper(session: str | None) -> bool:
    """Return whether another session, nobody tells which, has opened this one for a part of its work."""
    return ":subagent:" in (session or "").lower()


def is_main(session: str | None) -> bool:
    """Return whether this is the session in which an agent talks with its owner."""
    agent, _, rest = (session or "").removeprefix("agent:").partition(":")
    return bool(agent) and rest == "main"
