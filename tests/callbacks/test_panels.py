"""Panels: layout, labels, flows in colour, and when they are written."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

from ssl_faces.callbacks.panels import LABEL_WIDTH, PanelWriter, panel
from ssl_faces.methods.method import Method, in_eval_mode

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


def fit(*callbacks):
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
    method, faces = fit(writer)
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
    assert fit(PanelWriter(tmp_path, 2))[0].draws == fit()[0].draws


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
