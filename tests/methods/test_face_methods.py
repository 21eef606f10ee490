"""What all methods for faces do: run by their configs, resume, and show panels."""

import pytest
import torch

from ssl_faces.methods.contrawarping import ContraWarping
from ssl_faces.methods.fabnet import FAbNet
from ssl_faces.methods.facecycle_contrast import FaceCycleContrast
from ssl_faces.methods.pcl import PCL
from ssl_faces.methods.tcae import TCAE
from tests.support.fits import SMALL, check_panels, random_pairs, rendered_faces, trained

RUNS = {
    "contrawarping": ((), {"pooled", "map_2x2"}),
    "fabnet": ((), {"pooled", "map_2x2", "embedding"}),
    "pcl": (("--model.decoder_width", "4", "--model.projection_dim", "32"), {"pooled", "map_2x2"}),
    "tcae": (("--model.decoder_width", "8"), {"pooled", "map_2x2", "action", "pose"}),
    "facecycle_contrast": (
        ("--model.code_dim", "16", "--model.decoder_width", "4"),
        {"pooled", "map_2x2", "expression", "identity"},
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_runs_by_its_config_in_half_precision_and_resumes(name, tmp_path):
    more, spaces = RUNS[name]
    more = (*more, "--trainer.precision", "bf16-mixed")
    encoder, panel = trained(name, tmp_path, *more)
    assert encoder.card["method"] == name
    features = encoder(rendered_faces(2))
    assert set(features) == spaces
    for value in features.values():
        assert value.isfinite().all()
        assert not torch.equal(value[0], value[1])
    assert panel.stat().st_size > 1000
    again = ("--ckpt_path", "last", "--trainer.max_steps", "3")
    assert trained(name, tmp_path, *more, *again)[0].card["steps"] == 3


def contrast():
    return FaceCycleContrast(SMALL, code_dim=16, decoder_width=4)


METHODS = {
    "contrawarping": (lambda: ContraWarping(SMALL, negatives=2), 3),
    "fabnet": (lambda: FAbNet(SMALL, embedding_dim=16, decoder_width=8), 6),
    "pcl": (lambda: PCL(SMALL, projection_dim=16, decoder_width=4), 3),
    "tcae": (lambda: TCAE(SMALL, code_dim=16, decoder_width=8), 3),
    "facecycle_contrast": (contrast, 6),
}


@pytest.mark.parametrize("name", METHODS)
def test_panels_show_every_face_and_change_nothing(name):
    """They are made during training: modes and batch statistics stay the same."""
    torch.manual_seed(0)
    build, count = METHODS[name]
    net = build().train()
    state = {key: value.clone() for key, value in net.state_dict().items()}
    check_panels(net.panels({"pairs": random_pairs(3)}), count)
    assert net.training
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
