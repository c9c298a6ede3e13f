"""Nodes in memory for every test of this folder; the fixture owns their background tasks."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes import Mesh


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    """Give a mesh without nodes; those that the test starts are stopped, and their faults raised."""
    mesh = Mesh(tmp_path)
    yield mesh
    await mesh.close()
