"""A new data set, task, probe, kind of encoder or loader of a method is one file, and nothing else
is touched."""

import sys
from importlib import import_module

import numpy as np
import pytest
import torch

import linear_probe.probes
import linear_probe.sources
import linear_probe.tasks
import ssl_faces.data.sets
import ssl_faces.methods
import ssl_faces.networks
from linear_probe.probes import kinds
from linear_probe.records.record import read_records
from linear_probe.sources import opening
from linear_probe.tasks import TASKS, task
from ssl_faces import load_encoder, load_method, save_encoder
from ssl_faces.data import find_face_sets
from ssl_faces.data.sets import recognised
from ssl_faces.encoders import encoder
from ssl_faces.methods import loading
from tests.support.probing import refused, run
from tests.support.small_sets import noise, save_grey

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

from linear_probe.tasks.regression import Regression


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
"""


PROBE = """
import torch

from linear_probe.probes.kinds import ClassProbe


class NearestMean(ClassProbe):
    name = "nearest mean"
    about = "the class with the nearest mean"
    hyperparameters = {}

    def predict(self, train, targets, test, device):
        means = torch.stack([train[targets == k].mean(0) for k in range(int(targets.max()) + 1)])
        return torch.cdist(test, means).argmin(1)
"""

SOURCE = """
from linear_probe.sources.opening import Opened, opens


class Brightness:
    input_size, dims, fingerprint = 8, {"brightness": 1}, "b" * 64

    def __init__(self, name):
        self.name = name

    def to(self, device): ...

    def __call__(self, images):
        return {"brightness": images.mean((1, 2, 3))[:, None]}


@opens(lambda name: name == "brightness:")
def open_brightness(name, precision):
    return Opened(Brightness(name))
"""

NETWORK = """
from torch import nn

from ssl_faces.encoders.encoder import FaceEncoder


class Colours(FaceEncoder):
    encoder_name = "colours"

    def __init__(self, gain):
        super().__init__(8, {"gain": gain})
        self.feature_dims = {"colour": 3}
        self.layer = nn.Linear(3, 3)

    def features(self, x, spaces):
        return {"colour": self.config["gain"] * self.layer(x.mean((2, 3)))}
"""

METHOD = """
from ssl_faces.methods.loading import loads
from ssl_faces.methods.method import Method, load_weights
from ssl_faces.networks.backbone import BackboneEncoder


class Inverter(Method):
    name = "inverter"

    def __init__(self):
        super().__init__()
        self.encoder = BackboneEncoder("resnet18", 16, 0.0625)

    def panels(self, batch):
        return {}

    def edits(self):
        return {"neutral face": lambda images: 1 - images}


@loads(Inverter, lambda method: {})
def load(source, untrained):
    method = Inverter()
    if not untrained:
        source.load(method)
    return method
"""


@pytest.fixture
def drop(tmp_path, monkeypatch):
    """Puts a file beside the modules of a package, whose registry forgets it after the test."""
    dropped = []
    before = []

    def put(package, name, text, registry):
        folder = tmp_path / package.__name__
        folder.mkdir()
        (folder / f"{name}.py").write_text(text)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
        for module in (recognised, task):
            module._import_all.cache_clear()
        before.append((registry, dict(registry)))
        dropped.append(f"{package.__name__}.{name}")
        return import_module(dropped[-1])

    yield put
    for module in dropped:
        sys.modules.pop(module, None)
    for registry, kept in before:
        registry.clear()
        registry.update(kept)


def test_a_new_data_set_and_a_new_task_are_one_file_each(tiny, tmp_path, capsys, drop):
    drop(ssl_faces.data.sets, "heads", SET, recognised.REGISTRY)
    drop(linear_probe.tasks, "tilt", TASK, task.REGISTRY)
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


@pytest.mark.usefixtures("few_rendered")
def test_a_new_probe_and_a_new_kind_of_encoder_are_one_file_each(tmp_path, drop):
    drop(linear_probe.probes, "nearest_mean", PROBE, kinds._KINDS)
    drop(linear_probe.sources, "brightness", SOURCE, opening.KINDS)
    words = ("--no-baselines", "--data", "rendered", "--task", "expression")
    assert run("--encoder", "brightness:", *words, "--out", tmp_path / "out") == 0
    records = read_records(tmp_path / "out" / "records.jsonl")
    (one,) = [r for r in records if r.probe == "nearest mean"]
    assert (one.encoder, one.feature_space) == ("brightness:", "brightness")
    assert one.metric == "nearest mean accuracy"
    assert 5 < one.value < 60
    assert "; nearest mean: the class with the nearest mean" in one.protocol


def test_a_new_encoder_and_a_loader_of_a_method_are_one_file_each(tmp_path, drop):
    network = drop(ssl_faces.networks, "colours", NETWORK, encoder._KINDS)
    saved = network.Colours(2)
    found = load_encoder(save_encoder(saved, tmp_path / "encoder", {}))
    images = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(found(images), saved(images))
    method = drop(ssl_faces.methods, "inverter", METHOD, loading._LOADERS).Inverter()
    state = {"method": "inverter", "state_dict": method.state_dict(), "hyper_parameters": {}}
    torch.save(state, tmp_path / "last.ckpt")
    loaded = load_method(tmp_path / "last.ckpt")
    torch.testing.assert_close(loaded.state_dict(), method.state_dict())
    assert torch.equal(loaded.edits()["neutral face"](images), 1 - images)
    assert not torch.equal(
        load_method(tmp_path / "last.ckpt", untrained=True, seed=3).state_dict()[KERNEL],
        method.state_dict()[KERNEL],
    )


KERNEL = "encoder.network.conv1.weight"
