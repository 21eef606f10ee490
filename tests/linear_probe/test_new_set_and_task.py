"""A new data set and a new task are one file each: nothing else is touched to score the one on the
other."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import linear_probe.tasks
import ssl_faces.data.sets
from linear_probe.records.record import read_records
from linear_probe.tasks import TASKS, task
from ssl_faces.data import find_face_sets
from ssl_faces.data.sets import recognised
from tests.linear_probe.conftest import noise, save_grey
from tests.linear_probe.test_probe_cli import refused, run

SET = """
from ssl_faces.data.faces import FaceRecord, Skipped
from ssl_faces.data.sets.folder import images_under
from ssl_faces.data.sets.recognised import RecognisedSet


class Heads(RecognisedSet):
    name = "heads"
    title = "Heads"
    split = "by person"
    labels = ("person", "tilt")

    @classmethod
    def recognises(cls, folder):
        return (folder / "heads.txt").exists()

    def entries(self, folder, part):
        for key in images_under(folder):
            person, tilt, _ = key.split("_")
            if self.in_part(person, part):
                yield FaceRecord(key, folder / key, person, {"tilt": float(tilt)})
"""

TASK = """
import numpy as np

from linear_probe.tasks.regression import Regression, angle_errors


class Tilt(Regression):
    \"\"\"Mean absolute error of the tilt, in degrees.\"\"\"

    name = "tilt"
    required_labels = ("tilt",)
    names = ("tilt",)

    def _target(self, labels):
        return np.array([labels["tilt"]])

    def _prepare(self):
        super()._prepare()
        self.protocol = self._ridge("tilt as given")

    def _metrics(self, targets, predicted, weights):
        return angle_errors(self.names, targets, predicted, weights)
"""


@pytest.fixture
def _one_file_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if the two files lay in the folders of the packages."""
    for package, registry, text, name in (
        (ssl_faces.data.sets, recognised, SET, "heads"),
        (linear_probe.tasks, task, TASK, "tilt"),
    ):
        folder = tmp_path / package.__name__
        folder.mkdir()
        (folder / f"{name}.py").write_text(text)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
        monkeypatch.setattr(registry, "REGISTRY", registry.REGISTRY)
        registry._import_all.cache_clear()
    yield
    for registry, module, name in (
        (recognised, "ssl_faces.data.sets.heads", "heads"),
        (task, "linear_probe.tasks.tilt", "tilt"),
    ):
        registry.REGISTRY.pop(name, None)  # type: ignore[attr-defined]
        sys.modules.pop(module, None)


@pytest.mark.usefixtures("_one_file_each")
def test_a_new_data_set_and_a_new_task_are_one_file_each(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--encoder", tiny, "--features", "expression", "--out", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    save_grey(tmp_path / "empty" / "a.png", np.zeros((9, 9)))
    message = refused(capsys, run(*given, "--data", tmp_path / "empty", "--task", "tilt"))
    assert "tilt needs Heads, which is not there" in message
    rng = np.random.default_rng(0)
    for person in range(24):
        for number in range(4):
            tilt = rng.integers(-40, 40)
            pixels = noise(rng, 60)
            pixels[:24] += tilt
            save_grey(tmp_path / "data" / f"p{person}_{tilt}_{number}.png", pixels)
    (tmp_path / "data" / "heads.txt").touch()
    (faces,) = find_face_sets(tmp_path / "data", "all")
    assert (faces.name, faces.title, len(faces)) == ("heads", "Heads", 96)
    assert list(TASKS)[-1] == "tilt"
    assert run(*given, "--data", tmp_path / "data", "--task", "tilt") == 0
    records = read_records(tmp_path / "out" / "records.jsonl")
    assert {(r.task, r.data_set, r.split) for r in records} == {("tilt", "Heads", "by person")}
    error = {r.encoder: r.value for r in records}
    assert error["pixels"] < 5 < error["predict the mean"]
