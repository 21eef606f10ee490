"""The line about the time that a run takes, and what `--help` must not import."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest

from ssl_faces.callbacks.progress import ExpectedTime
from tests.support.types import Capsys, Patch

HEAVY = ("torch", "pytorch_lightning", "lightning_fabric", "kornia", "wandb", "torchvision")


@pytest.mark.parametrize(
    ("each", "first", "steps", "line"),
    [
        # The first step, which is slow, doesn't count.
        (2.0, 0, 100, "about 3 min left: 89 steps of 2 s"),
        (20.0, 0, 100, "about 32 min left: 97 steps of 20 s"),
        (0.5, 1000, 4600, "about 30 min left: 3,589 steps of 0.5 s"),
        (1.0, 0, math.inf, ""),
        (1.0, 0, 5, ""),
    ],
)
def test_the_expected_time(
    each: float, first: int, steps: float, line: str, monkeypatch: Patch, capsys: Capsys
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    module: Any = SimpleNamespace(device=SimpleNamespace(type="cpu"))
    callback = ExpectedTime()
    for step in range(1, int(min(steps, 20)) + 1):
        now[0] += 50.0 if step == 1 else each
        trainer: Any = SimpleNamespace(
            is_global_zero=True, global_step=first + step, estimated_stepping_batches=steps
        )
        callback.on_train_batch_end(trainer, module, None, None, step)
    printed = capsys.readouterr().out
    assert printed.count("left:") == bool(line)
    assert line in printed


@pytest.mark.parametrize(
    "words",
    [
        "ssl_faces.cli --help",
        "ssl_faces.cli methods --help",
        "ssl_faces.cli bench --help",
        "ssl_faces.cli compare --help",
        "ssl_faces.cli bench serve --help",
        "linear_probe.cli --help",
        "linear_probe.cli run --help",
        "linear_probe.cli report --help",
    ],
)
def test_help_imports_nothing_heavy(words: str) -> None:
    module, *arguments = words.split()
    program = (
        f"import sys\nfrom {module} import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n"
        f"print('heavy:', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.endswith("heavy: []\n"), done.stdout[-500:] + done.stderr[-500:]
    assert "usage" in done.stdout
