"""Unusable images are listed, whatever their names, and training continues."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

from tests.support.fits import fit, settings


def test_broken_pictures_are_listed_and_the_rest_is_trained_on(faces: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "faces", tmp_path / "run"
    shutil.copytree(faces, folder)
    (folder / 'a, "b".png').write_bytes(b"no picture")
    (folder / "empty.jpg").write_bytes(b"")
    fit(*settings("motion", folder, out, "--trainer.max_steps", "1"))
    with (out / "skipped.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["picture"] for row in rows} == {'a, "b".png', "empty.jpg"}
    assert all(row["reason"] for row in rows)
    assert (out / "encoder/card.json").exists()
