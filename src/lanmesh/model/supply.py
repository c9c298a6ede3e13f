"""supplies: a task while its files are still to come, and once they have"""

from dataclasses import replace

from lanmesh.model.task import Task, TaskEvent, WaitingFor


def short_of_files(task: Task) -> Task:
    """Return a task that may run, but for files that are still to come."""
    return replace(task, waiting_for=WaitingFor.FILES)


def supplied(task: Task) -> Task:
    """Return the task with all of its files here, free to run.

    Raises:
        IllegalTransition: It has ended meanwhile.
    """
    return replace(task.after(TaskEvent.SUPPLY), waiting_for=None)
