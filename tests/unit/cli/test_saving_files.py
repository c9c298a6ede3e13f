"""Files that came with a task, copied to where their owner wants them."""

from pathlib import Path

import pytest

from lanmesh.cli.files import save
from lanmesh.errors import InvalidRequest
from lanmesh.protocol.files import FileView


def that_came(place: Path) -> FileView:
    return FileView(
        name="cat.jpg", size=3, sha256="0" * 64, media_type="image/jpeg", sent=False, made=True,
        present=3, settled=True, error=None, place=str(place),
    )  # fmt: skip


def test_what_cannot_be_copied_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "cat").write_bytes(b"cat")
    (tmp_path / "no folder").touch()

    with pytest.raises(InvalidRequest, match=r'no copy at ".*no folder/cat\.jpg": '):
        save([that_came(tmp_path / "cat")], tmp_path / "no folder")


def test_no_link_that_lies_there_is_followed(tmp_path: Path) -> None:
    (tmp_path / "cat").write_bytes(b"cat")
    there = tmp_path / "there"
    there.mkdir()
    (there / "cat.jpg").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(InvalidRequest, match="exists already"):
        save([that_came(tmp_path / "cat")], there)
    assert not (tmp_path / "elsewhere").exists()
