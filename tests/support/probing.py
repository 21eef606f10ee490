"""`linear-probe run` and its sources in tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from linear_probe.cli import main
from linear_probe.features.frozen import Pictures, Source
from linear_probe.sources.by_name import encoder_sources
from ssl_faces.data import FaceSet, ImageFolder

SMALL_TIMM = "test_resnet"
"""timm's own model for tests, of 160 pixels."""


def only_source(name: str, **more: Any) -> Source:
    """The one source of an encoder, without baselines."""
    (source,) = encoder_sources([name], baselines=False, say=lambda line: None, **more)
    return source


def run_probe(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """The exit code of `linear-probe run` and what it prints, to stdout and stderr."""
    words = ["run", "--bootstrap", "20", "--device", "cpu", *map(str, arguments)]
    code = main(words)
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def run_own(out: Path, tiny: Path, *arguments: str | Path) -> int:
    """The exit code of `linear-probe run` on data of one's own."""
    given = ("run", "--encoder", tiny, "--out", out, "--features", "expression", "--no-baselines")
    return main([*map(str, (*given, "--bootstrap", "20", "--device", "cpu", *arguments))])


class CountingEncoder:
    """Two spaces: the mean colour, and the top left pixel; counts its calls."""

    encoder_name = "counting"
    input_size = 16
    feature_dims = {"colour": 3, "corner": 3}  # noqa: RUF012

    def __init__(self, gain: float = 1.0) -> None:
        self.config: dict[str, Any] = {}
        self.gain = gain
        self.calls = 0

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        assert images.dtype == torch.float32
        assert images.shape[1:] == (3, 16, 16)
        assert 0 <= images.min() <= images.max() <= 1
        self.calls += 1
        return {
            "colour": self.gain * images.mean(dim=(2, 3)),
            "corner": self.gain * images[:, :, 0, 0],
        }

    def state_dict(self) -> dict[str, Tensor]:
        return {"gain": torch.tensor(self.gain)}


def all_of(folder: Path) -> Pictures:
    faces: FaceSet = ImageFolder(folder)
    return Pictures(faces, np.arange(len(faces)))


def run(*arguments: str | Path) -> int:
    return main(["run", "--bootstrap", "20", "--device", "cpu", *map(str, arguments)])


def refused(capsys: pytest.CaptureFixture[str], code: int) -> str:
    """The one sentence that a refused command prints."""
    assert code == 2
    error = capsys.readouterr().err
    message = error[error.index("linear-probe: error: ") :]
    assert message.count("\n") == 1
    assert "Traceback" not in error
    return message


def own_images(root: Path, names: tuple[str, ...]) -> dict[str, list[Path]]:
    """Images of classes that differ in brightness, 12 to train and 4 to test on."""
    draw = np.random.default_rng(4)
    paths: dict[str, list[Path]] = {"train": [], "test": []}
    for side, count in (("train", 12), ("test", 4)):
        for i, name in enumerate(names):
            for k in range(count):
                pixels = draw.integers(60 * i, 60 * i + 40, (32, 32, 3), np.uint8)
                path = root / side / name / f"{k}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
                paths[side].append(path)
    return paths
