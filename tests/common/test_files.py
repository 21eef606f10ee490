"""Files are written whole or not at all, and failures say what to do."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from ssl_faces.common.errors import InputError
from ssl_faces.common.files import replace_file, write_failure


def test_writes_a_new_file_in_a_new_folder(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.bin"
    replace_file(path, b"\x00whole\xff")
    assert path.read_bytes() == b"\x00whole\xff"
    assert list(path.parent.iterdir()) == [path]


def test_replaces_an_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_file(path, b"a long old text")
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_are_for_whom_the_umask_lets(mask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        replace_file(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o640)
    replace_file(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_the_name_goes_from_the_old_file_to_the_whole_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, renamed = tmp_path / "file", []
    path.write_bytes(b"old")
    rename = os.replace

    def look(source: str, target: Path) -> None:
        renamed.append((Path(source).parent, Path(source).read_bytes(), Path(target).read_bytes()))
        rename(source, target)

    monkeypatch.setattr(os, "replace", look)
    replace_file(path, b"new")
    assert renamed == [(tmp_path, b"new", b"old")]


def failing(error: BaseException):  # type: ignore[no-untyped-def]
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("step", ["fsync", "chmod", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: int
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, step, failing(OSError(number, os.strerror(number))))
    with pytest.raises(InputError) as caught:
        replace_file(path, b"new")
    monkeypatch.undo()
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert ("the disk is full" in text) == (number != errno.EIO)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_an_interruption_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, step, failing(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        replace_file(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_without_an_old_file_leaves_an_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", failing(OSError(errno.ENOSPC, "")))
    with pytest.raises(InputError):
        replace_file(tmp_path / "file", b"new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["taken/file", "taken/deeper/file"])
def test_a_folder_that_is_a_file(tmp_path: Path, path: str) -> None:
    (tmp_path / "taken").write_bytes(b"old")
    with pytest.raises(InputError, match="choose another folder"):
        replace_file(tmp_path / path, b"new")
    assert (tmp_path / "taken").read_bytes() == b"old"


def test_a_file_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "taken" / "inside").mkdir(parents=True)
    with pytest.raises(InputError, match="can't be written"):
        replace_file(tmp_path / "taken", b"new")
    assert list(tmp_path.iterdir()) == [tmp_path / "taken"]


def test_write_failure_gives_the_mend() -> None:
    assert "free some space" in write_failure(OSError(errno.ENOSPC, "No space left on device"))
    text = write_failure(OSError(errno.EACCES, "Permission denied"))
    assert "(Permission denied)" in text
    assert "mend its permissions" in text
