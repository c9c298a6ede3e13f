"""Nodes for the tests, each a real process on loopback."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance import confidential
from tests.acceptance.mesh import Mesh
from tests.acceptance.node_process import NodeProcess


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.acceptance)


@pytest.fixture(scope="session", autouse=True)
def nothing_confidential_is_shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """See, after the last test, that no secret of any node is in any answer, output, log or database."""
    yield
    assert confidential.leaked(tmp_path_factory.getbasetemp()) == []


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    with Mesh(tmp_path) as mesh:
        yield mesh


@pytest.fixture(scope="module")
def shared_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """A mesh for all tests of a module."""
    with Mesh(tmp_path_factory.mktemp("mesh")) as mesh:
        yield mesh


@pytest.fixture(scope="module")
def pair(shared_mesh: Mesh) -> tuple[NodeProcess, NodeProcess]:
    """Two nodes for all tests of a module; b does a task by running its text as a shell script."""
    a, b = shared_mesh.started(a={}, b={"command": ["sh"]})
    return a, b
