"""The expected time of a run, its progress bar, and what `--help` must not import."""

import math
import re
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from ssl_faces.callbacks.progress import ExpectedTime, StepsBar
from tests.support.fits import fit, settings

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
def test_the_expected_time(each, first, steps, line, monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    module = SimpleNamespace(device=SimpleNamespace(type="cpu"))
    callback = ExpectedTime()
    for step in range(1, int(min(steps, 20)) + 1):
        now[0] += 50.0 if step == 1 else each
        trainer = SimpleNamespace(
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
def test_help_imports_nothing_heavy(words):
    module, *arguments = words.split()
    program = (
        f"import sys\nfrom {module} import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n"
        f"print('heavy:', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.endswith("heavy: []\n"), done.stdout[-500:] + done.stderr[-500:]
    assert "usage" in done.stdout


def drawn(text):
    """Epoch, step and all steps of each drawing."""
    result = re.findall(r"epoch (\d+): +\d+%\|[^|]*\| (\d+)/(\d+) \[", text)
    return [(int(epoch), int(step), int(steps)) for epoch, step, steps in result]


@pytest.fixture
def _drawn_always(monkeypatch):
    monkeypatch.setattr("ssl_faces.callbacks.progress.ELSEWHERE", 0.0)


@pytest.mark.usefixtures("_drawn_always")
def test_it_counts_all_steps_and_continues_on_resume(faces, tmp_path, capsys):
    words = settings("motion", faces, tmp_path / "run")
    fit(*words, "--trainer.max_steps", "14")
    shown = drawn(capsys.readouterr().out)
    # Twelve batches are an epoch.
    assert [*dict.fromkeys(shown)] == [(1 + (n > 12), n, 14) for n in range(15)]
    fit(*words, "--trainer.max_steps", "16", "--ckpt_path", "last")
    text = capsys.readouterr().out
    assert {*drawn(text)} == {(2, n, 16) for n in (14, 15, 16)}
    assert re.search(r"16/16 .*loss=\d", text)
    assert "v_num" not in text


@pytest.mark.usefixtures("_drawn_always")
@pytest.mark.parametrize(
    "words",
    [
        ["--trainer.enable_progress_bar", "false"],
        ["--trainer.callbacks", "pytorch_lightning.callbacks.TQDMProgressBar"],
    ],
)
def test_no_bar_or_another_one_by_settings(words, faces, tmp_path, capsys):
    fit(*settings("motion", faces, tmp_path / "run"), "--trainer.max_steps", "3", *words)
    out = capsys.readouterr().out
    assert not drawn(out)
    assert ("Epoch 0:" in out) == ("callbacks" in words[0])


def test_in_a_log_it_is_drawn_at_the_start_and_the_end_of_a_short_run(
    monkeypatch, faces, tmp_path, capsys
):
    """Metrics are read when it is drawn, and not in each step."""
    reads = []
    metrics = StepsBar.get_metrics
    monkeypatch.setattr(
        StepsBar,
        "get_metrics",
        lambda bar, trainer, module: (
            reads.append(trainer.global_step) or metrics(bar, trainer, module)
        ),
    )
    fit(*settings("motion", faces, tmp_path / "run"), "--trainer.max_steps", "14")
    assert reads == [1, 14]
    shown = [*dict.fromkeys(drawn(capsys.readouterr().out))]
    assert [(step, steps) for _, step, steps in shown] == [(0, 14), (1, 14), (14, 14)]
