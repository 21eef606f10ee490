"""The ResNet-18 trained from scratch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from linear_probe.sources import supervised
from linear_probe.sources.supervised import SHIFT, Epoch, normalised, told, train, varied
from ssl_faces import InputError


def bars(count: int) -> Epoch:
    """Noise with a bright bar; a class is how high the bar lies."""
    labels = torch.arange(count) % 4
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 60, (count, 3, 32, 32), generator=draw, dtype=torch.uint8)
    for image, label in zip(images, labels.tolist(), strict=True):
        image[:, 8 * label : 8 * label + 4] += 150
    return Epoch(images, labels)


def test_the_network_learns_and_tells_what_it_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised, "SHIFT", 1)
    learnt, unseen = bars(320), bars(400)
    network = train([learnt] * 5, 4, "cpu", 0)
    answers = torch.from_numpy(told(network, unseen.images[320:], "cpu"))
    assert (answers == unseen.labels[320:]).float().mean() > 0.8


def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    epochs = [bars(64), bars(128), bars(64)]
    straight = train(epochs, 4, "cpu", 3).state_dict()
    checkpoint = tmp_path / "network.pt"

    class Stop(Exception):
        pass

    normal, calls = supervised.varied, []

    def cut(images: Tensor, draw: torch.Generator) -> Tensor:
        calls.append(len(images))
        if len(calls) == 3:  # in the second epoch
            raise Stop
        return normal(images, draw)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supervised, "varied", cut)
        with pytest.raises(Stop):
            train(epochs, 4, "cpu", 3, checkpoint)
    resumed = train(epochs, 4, "cpu", 3, checkpoint).state_dict()
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)
    # Done: nothing is trained any more.
    again = train(epochs, 4, "cpu", 3, checkpoint).state_dict()
    assert all(torch.equal(straight[name], again[name]) for name in straight)

    with pytest.raises(InputError, match="another seed"):
        train(epochs, 4, "cpu", 4, checkpoint)
    with pytest.raises(InputError, match="another count"):
        train(epochs, 4, "cpu", 3, checkpoint, {"count": 5})
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(InputError, match="is broken"):
        train(epochs, 4, "cpu", 3, checkpoint)


def test_varied_pictures_are_the_given_ones_mirrored_or_moved() -> None:
    size = 12
    images = torch.randint(0, 256, (40, 3, size, size), dtype=torch.uint8)
    found = varied(images, torch.Generator().manual_seed(1))
    padded = torch.nn.functional.pad(images.float(), (SHIFT,) * 4, mode="replicate").byte()
    ways = set()
    for image, wide in zip(found, padded, strict=True):
        fits = [
            (down, right, mirrored)
            for down in range(2 * SHIFT + 1)
            for right in range(2 * SHIFT + 1)
            for mirrored in (False, True)
            if torch.equal(cut := wide[:, down : down + size, right : right + size], image)
            or (mirrored and torch.equal(cut.flip(-1), image))
        ]
        assert fits
        ways.add(fits[0])
    assert {way[2] for way in ways} == {False, True}
    assert len({way[:2] for way in ways}) > 10


def test_exposure_and_contrast_change_next_to_nothing() -> None:
    image = torch.randint(60, 180, (1, 3, 16, 16), dtype=torch.uint8)
    darker = image // 2
    assert (normalised(image) - normalised(darker)).abs().max() < 0.3
    assert normalised(image).mean().abs() < 1e-4
