"""`linear-probe run` and its sources in tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from linear_probe.cli import main
from linear_probe.features.frozen import Source
from linear_probe.sources.by_name import encoder_sources

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
