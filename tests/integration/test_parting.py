"""What unpairing and blocking end, and what whoever bears the name next does not get."""

from tests.fakes import Mesh, NodeUnderTest, soon, until
from tests.integration.desk import a_file, with_shelf
from tests.integration.test_pairing import dial


async def paired(mesh: Mesh) -> tuple[NodeUnderTest, NodeUnderTest]:
    """Return two nodes that are paired by a code, with real disks."""
    a, b = with_shelf(mesh.describe("a"), mesh), with_shelf(mesh.describe("b"), mesh)
    await a.start()
    await b.start()
    await dial(a, b)
    return a, b


async def test_with_a_blocked_peer_no_file_is_tried(mesh: Mesh) -> None:
    a, b = await paired(mesh)
    a.file_link.cut_after = b.file_link.cut_after = 1000
    kept = await soon(a.node.files.keep([a_file(mesh)]))
    await soon(a.node.mail.send("b", "look", files=kept, wait_s=5))
    await until(lambda: bool(a.file_link.moved))

    await soon(a.node.pairing.block("b"))
    await mesh.clock.advance(120)
    tried = list(a.file_link.moved)
    await mesh.clock.advance(600)

    assert a.file_link.moved == tried
