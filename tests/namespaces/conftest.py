"""Networks of hosts for the tests; where none can be made, each test says why it is skipped."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.namespaces.hosts import Host, Networks, why_not


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what cannot be shown here, by its name and with the reason."""
    reason = why_not()
    for item in items:
        if Path(__file__).parent in item.path.parents and reason is not None:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def networks(tmp_path: Path) -> Iterator[Networks]:
    with Networks(tmp_path) as networks:
        yield networks


@pytest.fixture
def lay(networks: Networks) -> Callable[..., tuple[Host, ...]]:
    """Give what lays networks: of each host, its addresses by network."""

    def lay(**addresses: dict[str, str]) -> tuple[Host, ...]:
        return tuple(networks.host(name, joined) for name, joined in addresses.items())

    return lay


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Give what tells a measurement to whoever runs the tests."""

    def say(sentence: str) -> None:
        with capsys.disabled():
            print(f"\n   {sentence}", end="", flush=True)  # noqa: T201  # a measurement

    return say
