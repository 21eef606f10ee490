"""Two processes with b pairs each have the gradient of one process with 2b pairs."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ssl_faces.methods.barlow_twins import BarlowTwins
from ssl_faces.methods.byol import BYOL
from ssl_faces.methods.dino import DINO
from ssl_faces.methods.dinov2 import DINOv2
from ssl_faces.methods.lejepa import LeJEPA
from ssl_faces.methods.moco_v3 import MoCoV3
from ssl_faces.methods.nnclr import NNCLR
from ssl_faces.methods.simclr import SimCLR
from ssl_faces.methods.swav import SwAV
from ssl_faces.methods.vicreg import VICReg
from ssl_faces.methods.w_mse import WMSE
from ssl_faces.networks.backbone import EncoderSettings
from tests.support.fits import random_pairs
from tests.support.processes import gradients, one_thread, results_of_two

PAIRS = 3  # of each process
METHODS = {
    "simclr": (SimCLR, {"projection_dim": 8}),
    "moco_v3": (MoCoV3, {"projection_dim": 8, "hidden_dim": 16}),
    "byol": (BYOL, {"projection_dim": 8, "hidden_dim": 16}),
    "vicreg": (VICReg, {"projection_dim": 8}),
    "barlow_twins": (BarlowTwins, {"projection_dim": 8}),
    "dino": (DINO, {"prototypes": 8, "hidden_dim": 16, "local_crops": 0}),
    "dinov2": (DINOv2, {"prototypes": 8, "hidden_dim": 16, "local_crops": 0}),
    "lejepa": (LeJEPA, {"projection_dim": 8, "hidden_dim": 16, "local_crops": 0}),
    "nnclr": (NNCLR, {"projection_dim": 8, "hidden_dim": 16, "bank_size": 16}),
    "swav": (SwAV, {"prototypes": 8, "hidden_dim": 16, "projection_dim": 8, "local_crops": 0}),
    "w_mse": (WMSE, {"projection_dim": 3, "hidden_dim": 16, "group_size": 2 * PAIRS}),
}


class Loss(nn.Module):
    """A method's total loss as a forward pass, for DistributedDataParallel."""

    def __init__(self, name):
        super().__init__()
        torch.manual_seed(0)
        kind, heads = METHODS[name]
        # FaceCycle's encoder and ViTs have no batch normalisation. That of the heads is in eval
        # mode, since each process normalises its own batch.
        vit = EncoderSettings("timm:test_vit", 32)
        encoder = vit if name == "dinov2" else EncoderSettings("facecycle", 32, 0.0625)
        self.method = kind(encoder, **heads).eval()
        self.method._trainer = SimpleNamespace(global_step=0, estimated_stepping_batches=100)
        if name == "dinov2":
            # Each process masks other patches.
            self.method.draw = lambda count: torch.eye(2).bool().expand(count, 2, 2)

    def forward(self, x):
        torch.manual_seed(0)  # LeJEPA's directions
        return torch.stack(list(self.method.losses(x).values())).sum()


def images(pairs):
    return (random_pairs(2 * PAIRS)[pairs].transpose(0, 1).flatten(0, 1) - 0.45) / 0.225


def of_one_process(rank):
    results = {}
    for name in METHODS:
        model = nn.parallel.DistributedDataParallel(Loss(name))
        model(images(slice(rank * PAIRS, (rank + 1) * PAIRS))).backward()
        results[name] = gradients(model)
    return results


@pytest.fixture(scope="module")
def of_two_processes(tmp_path_factory):
    return results_of_two(of_one_process, tmp_path_factory.mktemp("ddp"))[0]


@pytest.mark.parametrize("name", METHODS)
def test_gradient_equals_one_process(name, of_two_processes, tmp_path):
    with one_thread():
        whole = Loss(name)
        whole(images(slice(None))).backward()
    expected, result = gradients(whole), of_two_processes[name]
    assert result.keys() == expected.keys()
    assert any(key.startswith("method.encoder") for key in result)
    norm = torch.cat([value.flatten() for value in expected.values()]).norm()
    assert norm > 1e-4
    for key, value in expected.items():
        error = (result[key] - value).norm()
        # Where the loss does not depend on a parameter, its gradient is only rounding.
        assert error < 1e-3 * value.norm() + 1e-4 * norm, key
