"""CONTRIBUTING's worked example, as it is written there, in a folder outside the project."""

import re
import subprocess
import sys
from functools import partial

import pytest
import torch
from torch import nn

from linear_probe import read_records
from ssl_faces import load_encoder
from ssl_faces.networks.backbone import EncoderSettings
from tests.support.fits import ROOT, SIZE, environment, random_pairs
from tests.support.in_process import MAIN
from tests.support.processes import gradients, one_thread, results_of_two

PAGE = (ROOT / "CONTRIBUTING.md").read_text()
FILES = dict(re.findall(r"`(\w+\.(?:py|yaml))`:\n\n```(?:python|yaml)\n(.*?)```", PAGE, re.DOTALL))
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE.split("## Worked example")[1], re.DOTALL)
COMMANDS = [line for block in BLOCKS[:2] for line in block.splitlines()]
PAIRS = 4  # of each process


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The example's files."""
    place = tmp_path_factory.mktemp("outside")
    for name, text in FILES.items():
        (place / name).write_text(text)
    return place


def start(command, folder, *more):
    """What `ssl-faces` prints in its own processes: two devices start this one's command again."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "ssl_faces.cli", *command.split()[1:], *more],
        env=environment() | {"PYTHONPATH": f"{folder}:{ROOT}"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def here(command, *more):
    """Run a command in this process."""
    program, *words = command.split()
    assert MAIN[program]([*words, *more]) == 0


def test_the_commands_train_resume_and_score(folder, faces, monkeypatch, capsys):
    assert list(FILES) == ["wmse.py", "wmse.yaml", "mlp.py", "mlp.yaml"]
    export, fit, resume, probe, head, report = COMMANDS
    assert export == "export PYTHONPATH=$PWD"
    small = [
        *("--data.batch_size", "8", "--data.size", str(SIZE), "--model.group", "16"),
        *("--model.projection_dim", "4", "--model.encoder.input_size", str(SIZE)),
        *("--model.encoder.width", "0.125", "--trainer.max_epochs", "-1"),
        *("--panels_every", "0", "--probe_every", "0", "--trainer.precision", "32-true"),
    ]
    named = [command.replace("FOLDER", str(faces)) for command in (fit, resume)]
    small += ["--data.cache", str(folder / "cache")]
    start(named[0], folder, *small, "--trainer.max_steps", "2")
    assert "step 2" in start(named[1], folder, *small, "--trainer.max_steps", "3")
    card = load_encoder(folder / "runs/wmse").card
    assert (card["method"], card["steps"], card["pairs_a_step"]) == ("wmse", 3, 16)

    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    rendered = ("--data", "rendered:200", "--bootstrap", "20")
    quick = ("--task", "expression", "--baselines", "none", "--features", "pooled")
    here(probe, *rendered, *quick)
    here(head, *rendered, "--training.epochs", "1", "--accelerator", "cpu")
    records = read_records(folder / "runs/heads/records.jsonl")
    assert {(r.encoder, r.feature_space, r.probe) for r in records} == {
        ("runs/wmse", "pooled", "mlp")
    }
    capsys.readouterr()
    here(report)
    table = capsys.readouterr().out
    assert "mlp" in table
    assert "logistic regression" in table


class Loss(nn.Module):
    """The method's loss as a forward pass, for DistributedDataParallel."""

    def __init__(self, folder):
        super().__init__()
        sys.path.insert(0, str(folder))
        from wmse import WMSE

        torch.manual_seed(0)
        # FaceCycle's encoder has no batch normalisation. That of the head is in eval mode, since
        # each process normalises its own batch.
        encoder = EncoderSettings("facecycle", SIZE, 0.0625)
        self.method = WMSE(encoder, projection_dim=2, group=PAIRS).eval()

    def forward(self, x):
        return self.method.losses(x)["whitened"]


def images(pairs):
    return (random_pairs(2 * PAIRS)[pairs].transpose(0, 1).flatten(0, 1) - 0.45) / 0.225


def of_one_process(folder, rank):
    model = nn.parallel.DistributedDataParallel(Loss(folder))
    torch.manual_seed(rank)  # as the batch's seed, which differs between processes
    model(images(slice(rank * PAIRS, (rank + 1) * PAIRS))).backward()
    return gradients(model)


def test_two_processes_have_the_gradient_of_one(folder, tmp_path):
    result = results_of_two(partial(of_one_process, folder), tmp_path)[0]
    with one_thread():
        whole = Loss(folder)
        whole(images(slice(None))).backward()
    expected = gradients(whole)
    assert result.keys() == expected.keys()
    norm = torch.cat([value.flatten() for value in expected.values()]).norm()
    assert norm > 1e-4
    for key, value in expected.items():
        assert (result[key] - value).norm() < 1e-3 * value.norm() + 1e-4 * norm, key
