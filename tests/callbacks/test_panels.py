"""Panels and progress of runs."""

import math
import re
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

from ssl_faces.callbacks.panels import LABEL_WIDTH, PanelWriter, panel
from ssl_faces.callbacks.progress import ExpectedTime, StepsBar
from ssl_faces.methods.method import Method, in_eval_mode
from tests.support.fits import fit, settings

SIDE = 16


def flat(*levels, side=SIDE):
    """One flat grey picture a level, [N, 3, side, side]."""
    return torch.tensor(levels).view(-1, 1, 1, 1).expand(-1, 3, side, side)


def cells(picture, rows, columns, left=0):
    """The pictures in a grid with frames of 2 pixels: [rows, columns, SIDE, SIDE, 3]."""
    whole = np.asarray(picture).astype(int)
    step = SIDE + 2
    # Each row of a panel is a grid of its own, with a frame above and below.
    height = whole.shape[0] // rows if left else step
    tops = [r * height + 2 for r in range(rows)]
    lefts = [left + c * step + 2 for c in range(columns)]
    return np.stack([[whole[y : y + SIDE, x : x + SIDE] for x in lefts] for y in tops])


def test_one_row_a_kind_and_one_column_a_face():
    """Also in half precision, with gradients."""
    source = flat(0, 0.2, 0.4).bfloat16().requires_grad_()
    sheet = panel({"source": source, "neutral": flat(0.6, 0.8, 1.0)})
    assert sheet.mode == "RGB"
    assert sheet.size == (LABEL_WIDTH + 3 * (SIDE + 2) + 2, 2 * (SIDE + 4))
    result = cells(sheet, 2, 3, LABEL_WIDTH)
    expected = np.array([[0, 51, 102], [153, 204, 255]])
    assert (abs(result - expected[:, :, None, None, None]) <= 1).all()


def ink_by_row(sheet, rows):
    """Dark pixels of the label of each row."""
    labels = np.asarray(sheet)[:, :LABEL_WIDTH]
    return [int((row < 128).all(-1).sum()) for row in np.split(labels, rows)]


def test_each_row_is_labelled_on_white():
    rows = {
        "i": flat(0.5),
        "reconstruction": flat(0.5),
        "": flat(0.5),
        "flow": torch.zeros(1, 2, 4, 4),
    }
    sheet = panel(rows)
    short, long, none, flow = ink_by_row(sheet, 4)
    assert 0 < short < flow < long
    assert none == 0
    labels = np.asarray(sheet)[:, :LABEL_WIDTH]
    assert (labels == 255).mean() > 0.7


def test_the_labels_of_both_stages_fit_beside_the_pictures():
    """None of a panel's pictures is written over: a black label would show on white ones."""
    for name in ("reconstruction", "auto-encoded", "warped back", "de-identified", "re-identified"):
        sheet = panel({name: flat(1.0, 1.0)})
        assert (np.asarray(sheet)[:, LABEL_WIDTH - 2 :] == 255).all(), name


def test_flows_are_shown_in_colour():
    flow = torch.zeros(4, 2, 4, 4)
    flow[0, 0], flow[1, 0], flow[2, 1] = 0.5, -0.5, 0.5
    sheet = panel({"flow": flow, "source": flat(0.1, 0.2, 0.3, 0.4)})
    assert sheet.size == (LABEL_WIDTH + 4 * (SIDE + 2) + 2, 2 * (SIDE + 4))
    right, left, down, still = cells(sheet, 2, 4, LABEL_WIDTH)[0]
    for one in (right, left, down):
        assert (one == one[0, 0]).all(), "a flat flow is one colour"
        assert np.ptp(one[0, 0]) > 100, "no grey"
    assert np.ptp(still[0, 0]) < 10, "no flow has no colour"
    for one, other in ((right, left), (right, down), (left, down)):
        assert np.abs(one[0, 0] - other[0, 0]).max() > 100
    assert (cells(sheet, 2, 4, LABEL_WIDTH)[1] == cells(sheet, 2, 4, LABEL_WIDTH)[1, ..., :1]).all()


# The callback -----------------------------------------------------------------------------------


class Grey(Method):
    """Learns one number, and shows pictures of it."""

    name = "grey"

    def __init__(self):
        super().__init__()
        self.level = nn.Parameter(torch.tensor(0.2))
        self.draws: list[float] = []
        self.shown: list[float] = []

    def training_step(self, batch, batch_idx):
        self.draws.append(torch.rand(1).item())
        return (self.level - 1) ** 2

    def configure_optimizers(self):
        return torch.optim.SGD([self.level], lr=0.1)

    def panels(self, batch):
        self.shown.append(torch.rand(1).item())
        return {"source": batch["pairs"][:, 0], "level": batch["pairs"][:, 1] * self.level}


class Faces(pl.LightningDataModule):
    def __init__(self):
        super().__init__()
        self.asked: list[int] = []

    def train_dataloader(self):
        return DataLoader(torch.zeros(7, 1))

    def sample(self, count):
        self.asked.append(count)
        return {"pairs": torch.ones(count, 2, 3, SIDE, SIDE), "seed": 0}


def watched(*callbacks):
    torch.manual_seed(1)
    method, faces = Grey(), Faces()
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
    )
    trainer.fit(method, faces)
    return method, faces


@pytest.mark.parametrize(
    ("every", "steps"), [(3, [3, 6, 7]), (7, [7]), (0, [7]), (100, [7]), (1, list(range(1, 8)))]
)
def test_panels_are_written_every_so_often_and_at_the_end(tmp_path, every, steps):
    writer = PanelWriter(tmp_path / "run", every, pairs=3)
    method, faces = watched(writer)
    names = [f"step_{step:07d}.png" for step in steps]
    assert [path.name for path in writer.written] == names
    assert sorted(path.name for path in (tmp_path / "run" / "panels").iterdir()) == names
    assert faces.asked == [3] * len(steps)
    levels = []
    for path in writer.written:
        sheet = Image.open(path)
        assert sheet.size == (LABEL_WIDTH + 3 * (SIDE + 2) + 2, 2 * (SIDE + 4))
        levels.append(int(cells(sheet, 2, 3, LABEL_WIDTH)[1, 0, 0, 0, 0]))
    assert levels == sorted(set(levels)), "of the weights at that step"
    assert levels[-1] == round(255 * method.level.item())
    assert len(set(method.shown)) == 1, "the same noise each time"


def test_panels_do_not_change_what_training_draws(tmp_path):
    assert watched(PanelWriter(tmp_path, 2))[0].draws == watched()[0].draws


def test_eval_mode_restores_modes_and_random_numbers():
    frozen = nn.BatchNorm1d(3)
    module = nn.Sequential(nn.BatchNorm1d(3), frozen).train()
    frozen.eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = torch.random.get_rng_state()
    with in_eval_mode(module, torch.device("cpu")):
        assert not module(torch.randn(8, 3) + 5).requires_grad
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert [part.training for part in module.modules()] == [True, True, False]


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
