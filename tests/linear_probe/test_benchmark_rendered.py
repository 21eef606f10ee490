"""The bench of how hard rendered faces are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from linear_probe.benchmark_rendered import hits, main, train


def test_the_network_learns_and_is_scored_on_what_it_is_given() -> None:
    labels = torch.arange(420) % 7
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 60, (420, 3, 32, 32), generator=draw, dtype=torch.uint8)
    for image, label in zip(images, labels.tolist(), strict=True):
        # A class is how high a bright bar lies.
        image[:, 4 * label : 4 * label + 6] += 150
    network = train(images[:350], labels[:350], 8, "cpu", 0)
    found = hits(network, images[350:], labels[350:], "cpu")
    assert found.mean() > 0.8
    swapped = hits(network, images[350:], (labels[350:] + 1) % 7, "cpu")
    assert not np.any((found > 0) & (swapped > 0))


def test_the_command_prints_probes_and_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ("--count", "420", "--people", "70", "--size", "32", "--epochs", "1")
    main([*few, "--nuisances", "none", "--out", str(tmp_path)])
    text = capsys.readouterr().out
    for row in ("pixels", "HOG", "LBP", "ResNet-18 from scratch, 1 epochs of"):
        assert row in text
    assert "expression: rendered faces" in text
