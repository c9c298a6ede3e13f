"""claims: who works on a task"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Who works on a task: one boot of one node, at one attempt. A later claim fences this one."""

    boot: str
    attempt: int
