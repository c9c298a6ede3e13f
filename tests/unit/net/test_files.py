"""How long nothing may move on the way of files."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lanmesh.errors import AnswerLost
from lanmesh.model.file import FileRef
from lanmesh.model.ids import PeerId
from lanmesh.net.files import HttpFiles
from lanmesh.net.link import HttpLink
from tests.simulation.loop import VirtualLoop

REF = FileRef(name="x", size=2, sha256="0" * 64)


class Answering:
    """A peer whose answer has two bytes, with pauses between them."""

    def __init__(self, pause_s: float) -> None:
        self._pause_s = pause_s

    @asynccontextmanager
    async def opened(self, *_: Any) -> AsyncIterator[Any]:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"x"
            await asyncio.sleep(self._pause_s)
            yield b"y"

        yield SimpleNamespace(headers={}, content=SimpleNamespace(iter_any=pieces))


async def fetched(pause_s: float, disk_s: float) -> bytes:
    way = HttpFiles(cast(HttpLink, Answering(pause_s)))
    async with way.fetch(PeerId("b"), REF, 0) as chunks:
        got = b"".join([chunk async for chunk in chunks])
        await asyncio.sleep(disk_s)
    return got


def test_a_disk_may_take_long_once_all_has_come() -> None:
    assert VirtualLoop().run(fetched(50.0, 3600.0)) == b"xy"


def test_a_peer_that_sends_nothing_for_a_minute_is_given_up_for_now() -> None:
    with pytest.raises(AnswerLost, match="nothing moved for 60 s"):
        VirtualLoop().run(fetched(70.0, 0.0))
