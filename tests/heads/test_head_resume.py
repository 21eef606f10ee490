"""A head killed anywhere, time after time, equals one that never stopped."""

import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from linear_probe.heads.fit import Trainer
from linear_probe.heads.goals import Categories
from linear_probe.heads.head import Head
from linear_probe.heads.job import HeadExperiment
from linear_probe.heads.module import HeadModule, HeadTraining
from linear_probe.heads.pictures import LabelledSplit
from linear_probe.records.recorder import RunFolder
from linear_probe.records.runner import Run, print_line
from ssl_faces.common.checkpoints import load_checkpoint
from ssl_faces.training.fit import quiet
from tests.support.resumes import KILLS, assert_same, kill_at, until_finished

BATCH = 2


class Means(Head):
    """Three classes by the means of pictures."""

    name = "means"
    picture_size = 4

    def __init__(self):
        super().__init__(Categories(3))
        torch.manual_seed(0)
        self.classifier = nn.Linear(3, 3)

    def embed(self, images):
        return images.mean((-2, -1))

    def classify(self, features):
        return self.classifier(features)

    def vary(self, images):
        return super().vary(images) + 0.1 * torch.rand(len(images), 1, 1, 1)


def trained(folder, batches, epochs, radius, kills, steps=None):
    """The last checkpoint of a head that is killed at these steps."""
    draw = torch.Generator().manual_seed(0)
    count = BATCH * batches + 1  # the last picture fills no batch
    images = torch.randint(256, (count, 3, 4, 4), dtype=torch.uint8, generator=draw)
    pictures = LabelledSplit(images, torch.arange(count) % 3, torch.arange(count), torch.arange(0))
    how = HeadTraining(epochs, BATCH, sam_radius=radius, steps=steps)
    path = folder / "last.ckpt"
    job = HeadExperiment(accelerator="cpu", precision="32-true")
    experiment = Run(RunFolder(folder / "records"), "cpu", print_line, {})

    def run(kill):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(HeadModule, "on_train_batch_end", kill_at(kill))
            Trainer(job, experiment).train(Means(), how, pictures, 0, folder)

    def step():
        return int(load_checkpoint(path)["global_step"]) if path.exists() else 0

    until_finished(kills, step, run)
    return dict(load_checkpoint(path))


@settings(max_examples=6, derandomize=True)
@given(
    batches=st.integers(1, 4),
    epochs=st.integers(1, 4),
    radius=st.sampled_from([0.0, 0.05]),
    kills=KILLS,
)
# Twice at an epoch's end, which never finished.
@example(2, 4, 0.0, [2, 2])
@example(1, 4, 0.05, [1, 1, 1])
def test_killed_and_resumed_it_equals_one_that_never_stopped(batches, epochs, radius, kills):
    quiet()
    with tempfile.TemporaryDirectory() as whole, tempfile.TemporaryDirectory() as killed:
        expected = trained(Path(whole), batches, epochs, radius, [])
        assert_same(trained(Path(killed), batches, epochs, radius, kills), expected)
        assert expected["global_step"] == batches * epochs


@pytest.mark.parametrize("kills", [[], [3], [4, 5]])
def test_steps_in_place_of_epochs_may_end_within_one(kills, tmp_path):
    quiet()
    expected = trained(tmp_path / "whole", 2, 1, 0.0, [], steps=5)
    assert expected["global_step"] == expected["lr_schedulers"][0]["total_steps"] == 5
    assert_same(trained(tmp_path / "killed", 2, 1, 0.0, kills, steps=5), expected)
