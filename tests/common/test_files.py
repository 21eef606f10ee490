"""Files are written whole or not at all, and failures say what to do."""

import errno
import os
import stat
from pathlib import Path

import pytest

from ssl_faces.common.errors import InputError
from ssl_faces.common.files import replace_file
from tests.support.refusals import message_of


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_permissions_are_those_of_the_umask_or_of_the_old_file(mask, mode, tmp_path):
    path = tmp_path / "new" / "file"
    before = os.umask(mask)
    try:
        replace_file(path, b"old")
        assert stat.S_IMODE(path.stat().st_mode) == mode
        path.chmod(0o640)
        replace_file(path, b"\x00new\xff")
    finally:
        os.umask(before)
    assert path.read_bytes() == b"\x00new\xff"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(path.parent.iterdir()) == [path]


def test_the_name_goes_from_the_old_file_to_the_complete_new_one(tmp_path, monkeypatch):
    path, renamed = tmp_path / "file", []
    path.write_bytes(b"old")
    rename = os.replace

    def look(source, target):
        renamed.append((Path(source).parent, Path(source).read_bytes(), Path(target).read_bytes()))
        rename(source, target)

    monkeypatch.setattr(os, "replace", look)
    replace_file(path, b"new")
    assert renamed == [(tmp_path, b"new", b"old")]


@pytest.mark.parametrize(
    ("step", "exists"), [("fsync", False), ("fsync", True), ("chmod", True), ("replace", True)]
)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO, None])
def test_a_failure_or_an_interruption_leaves_the_old_file_and_nothing_else(
    number, step, exists, tmp_path, monkeypatch
):
    path = tmp_path / "file"
    if exists:
        path.write_bytes(b"old")
    error = KeyboardInterrupt() if number is None else OSError(number, os.strerror(number))

    def fail(*_):
        raise error

    monkeypatch.setattr(os, step, fail)
    with pytest.raises((InputError, KeyboardInterrupt)) as caught:
        replace_file(path, b"new")
    monkeypatch.undo()
    assert [x.read_bytes() for x in tmp_path.iterdir()] == [b"old"] * exists
    if number is not None:
        text = str(caught.value)
        assert text.startswith(f"{path}: ")
        assert ("the disk is full" in text) == (number != errno.EIO)


@pytest.mark.parametrize("path", ["taken/file", "taken/deeper/file", "folder"])
def test_unwritable_paths(tmp_path, path):
    (tmp_path / "taken").write_bytes(b"old")
    (tmp_path / "folder/inside").mkdir(parents=True)
    text = message_of(replace_file, tmp_path / path, b"new")
    assert "can't be written (" in text
    assert "choose another folder or mend its permissions" in text
    assert sorted(x.name for x in tmp_path.iterdir()) == ["folder", "taken"]
