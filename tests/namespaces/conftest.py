"""Networks of hosts for the tests; where none can be made, each test says why it is skipped."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.mesh import Mesh
from tests.namespaces.hosts import Host, ip, network, why_not


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what cannot be shown here, by its name and with the reason."""
    reason = why_not()
    for item in items:
        if Path(__file__).parent in item.path.parents and reason is not None:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def lay(tmp_path: Path) -> Iterator[Callable[..., tuple[Host, ...]]]:
    """Give what lays networks: of each host, its addresses by network."""
    mesh, hosts, networks = Mesh(tmp_path), list[Host](), dict[str, None]()

    def lay(**addresses: dict[str, str]) -> tuple[Host, ...]:
        for name, joined in addresses.items():
            for each in joined:
                if each not in networks:
                    networks[each] = None
                    network(each)
            hosts.append(Host(name, mesh))
            for each, address in joined.items():
                hosts[-1].join(each, address)
        return tuple(hosts)

    try:
        yield lay
    finally:
        try:
            mesh.end()
        finally:
            for host in hosts:
                host.remove()
            for each in networks:
                ip(f"link delete {each}")


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Give what tells a measurement to whoever runs the tests."""

    def say(sentence: str) -> None:
        with capsys.disabled():
            print(f"\n   {sentence}", end="", flush=True)  # noqa: T201  # a measurement

    return say
