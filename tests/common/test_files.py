"""Files are replaced whole; tables and settings are written and read safely."""

import csv
import errno
import io
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from linear_probe.experiments.job_files import read_job as read_verb
from linear_probe.plans.suite import read as read_suite
from linear_probe.tasks.own_table import table_faces
from ssl_faces.common.config_files import AUDITS, CONFIGS, HEADS, find_config, with_files
from ssl_faces.common.csv_files import CsvWriter, unescaped
from ssl_faces.common.errors import InputError
from ssl_faces.common.files import replace_file
from ssl_faces.data.faces import Skipped, write_skipped
from ssl_faces.data.tables import read_table
from ssl_faces.plan.job import read as read_job
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


FORMULAS = ("=cmd|' C'!A0", "+1+x", "-x", "@SUM(A1)", "\t=1", "\r=1", "＝1", "'=1", "''@x")


def written(*rows):
    text = io.StringIO()
    CsvWriter(text).writerows(rows)
    return text.getvalue()


def test_numbers_stay_numbers():
    assert written((-1.5, "-0.25", "+3", "-1e-05", None, True, "'tis")) == (
        "-1.5,-0.25,+3,-1e-05,,True,'tis\n"
    )


@given(st.text())
@example("'-5")
def test_texts_are_read_back_and_formulas_are_escaped(text):
    for value in (text, *FORMULAS):
        (cell,) = next(csv.reader(io.StringIO(written((value,)), newline="")), [""])
        assert unescaped(cell) == value
        assert (cell == f"'{value}") or value not in FORMULAS


def test_lists_of_skipped_pictures_are_escaped(tmp_path):
    path = tmp_path / "skipped.csv"
    write_skipped(path, [("=set", Skipped(name, "@why")) for name in FORMULAS])
    rows = list(csv.reader(io.StringIO(path.read_bytes().decode(), newline="")))[1:]
    assert {cell[0] for row in rows for cell in row} == {"'"}
    assert [row["picture"] for _, row in read_table(path, ["picture"])] == list(FORMULAS)


def test_a_table_of_labels_finds_its_pictures(tmp_path):
    names = [f"{name}.png" for name in FORMULAS]
    for name in names:
        Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / name)
    for part in ("train", "test"):
        text = written(("image", "expression"), *((name, "happy") for name in names))
        (tmp_path / f"{part}.csv").write_bytes(text.encode())
    train, _ = table_faces(tmp_path / "train.csv", tmp_path / "test.csv")
    assert [record.key for record in train.records] == names


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """A folder without `configs`."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "folders", "file"),
    [
        ("simclr_small", ("method", "data"), "method/simclr_small.yaml"),
        ("mixed", ("method", "data"), "data/mixed.yaml"),
        ("compare/encoder_small", ("method",), "compare/encoder_small.yaml"),
        ("configs/method/dino.yaml", ("method",), "method/dino.yaml"),
        ("cvt", HEADS, "head/cvt.yaml"),
        ("utkface_gender", AUDITS, "audit/utkface_gender.yaml"),
        ("facecycle_small", ("experiment",), "experiment/facecycle_small.yaml"),
        ("small", ("compare",), "compare/small.yaml"),
        ("claims", ("",), "claims.yaml"),
    ],
)
def test_names_of_configs(name, folders, file):
    assert find_config(name, folders) == CONFIGS / file


@pytest.mark.parametrize("own", ["simclr", "simclr.yaml"])
def test_a_file_in_the_current_folder_wins(own):
    Path(own).write_text("{}")
    assert find_config("simclr") == Path(own)


def test_a_folder_of_that_name_does_not(tmp_path):
    Path("simclr").mkdir()
    assert find_config("simclr") == CONFIGS / "method/simclr.yaml"


@pytest.mark.parametrize("path", ["no.yaml", "configs/method/no.yaml", "/no/such", "x" * 300 + "."])
def test_other_paths_stay_as_they_are(path):
    assert find_config(path) == Path(path)


def test_unknown_names():
    text = message_of(find_config, "simclr_smal")
    assert text.startswith("config 'simclr_smal': no such file, and no config has this name")
    assert "near it are simclr_small" in text
    known = ", ".join(sorted(path.stem for path in (CONFIGS / "audit").glob("*.yaml")))
    assert message_of(find_config, "q", AUDITS).endswith(f"there are {known}")


def test_arguments():
    own = str(CONFIGS / "method/mae.yaml")
    words = ["fit", "-c", "mae", "--config=mae", "--config", "a.yaml", "--out", "mae"]
    assert with_files(words) == [
        *("fit", "-c", own, f"--config={own}", "--config", "a.yaml", "--out", "mae")
    ]


def test_plans_find_configs_by_name_and_from_any_folder(tmp_path):
    plan = tmp_path / "plan.yaml"
    plan.write_text("stages: {a: {configs: [simclr_small, configs/data/mixed.yaml]}}")
    (step,) = read_job(plan).steps(tmp_path / "out")
    assert {len(step.decides[name]) for name in ("simclr_small", "configs/data/mixed.yaml")} == {16}
    for path in (CONFIGS / "experiment").glob("*.yaml"):
        assert read_job(path).steps(tmp_path / "out")
    assert read_suite(find_config("standard", ("suite",))).heads
    plan.write_text("stages: {a: {configs: [simclr_smal]}}")
    assert message_of(read_job, plan).startswith(f"{plan}: config 'simclr_smal': no such file, and")


def test_a_verb_of_linear_probe_finds_its_config(tmp_path):
    job, _, _ = read_verb("head", ["-c", "plain_fer", "--out", str(tmp_path)])
    assert job.task == "expression"
    text = message_of(read_verb, "audit", ["-c", "utkface", "--out", str(tmp_path)])
    assert "near it are utkface_gender" in text
