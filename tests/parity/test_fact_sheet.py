"""The `paper` configurations train as the authors' code does, as far as training is no network.

`test_parity.py` covers networks and losses. Here are the learning rates by epoch, what an epoch is,
which images meet, and how they are augmented (FaceCycle's fact sheet, from the authors' code).
"""

import pytest
import pytorch_lightning as pl
import torch
import yaml

from ssl_faces.methods.facecycle_identity import FaceCycleIdentity
from ssl_faces.methods.facecycle_motion import FaceCycleMotion
from ssl_faces.pairs.augment import Augmentation
from ssl_faces.pairs.module import FaceData
from ssl_faces.rendered import RenderedClips
from tests.support.fits import ROOT
from tests.support.noise_sets import met

CLIPS, FRAMES, SIDE = 24, 4, 64
RATES = {
    "motion": [1e-5] + 19 * [5e-5] + 20 * [1e-5],
    "identity": [5e-5] + 9 * [1e-4] + 10 * [1e-5],
}
BETAS = {"motion": (0.5, 0.999), "identity": (0.5, 0.9)}
stages = pytest.mark.parametrize("stage", ["motion", "identity"])


def config(stage):
    path = ROOT / f"configs/method/facecycle_{stage}.yaml"
    return yaml.safe_load(path.read_text())


def method(stage, folder):
    """The method of a `paper` configuration, but with small networks for 16 px."""
    settings = config("motion")["model"]["init_args"]
    small = {"size": "small", "input_size": 16, "map_size": None, "trunk_weights": "random"}
    motion = FaceCycleMotion(**{**settings, **small, "perceptual_weight": 0.0})
    if stage == "motion":
        return motion
    state = {"state_dict": motion.state_dict(), "hyper_parameters": dict(motion.hparams)}
    torch.save({**state, "method": motion.name}, folder / "last.ckpt")
    settings = config("identity")["model"]["init_args"]
    return FaceCycleIdentity(folder / "last.ckpt", **{**settings, "perceptual_weight": 0.0})


class Steps(pl.Callback):
    """The optimiser's rates and betas in each epoch."""

    def __init__(self):
        self.rates: list[float] = []
        self.betas: set[tuple[float, float]] = set()

    def on_train_batch_start(self, trainer, *_):
        (group,) = trainer.optimizers[0].param_groups
        self.rates.append(group["lr"])
        self.betas.add(group["betas"])


@stages
def test_learning_rates_by_epoch(stage, tmp_path, monkeypatch):
    """As a whole run has them, with one step an epoch, here of a trivial loss."""

    def training_step(self, batch, batch_idx):
        return torch.stack([p.sum() for p in self.parameters() if p.requires_grad]).sum()

    for kind in (FaceCycleMotion, FaceCycleIdentity):
        monkeypatch.setattr(kind, "training_step", training_step)
    steps = Steps()
    trainer = pl.Trainer(
        **config(stage)["trainer"],
        accelerator="cpu",
        callbacks=[steps],
        default_root_dir=tmp_path,
        **dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar"), False),
        enable_model_summary=False,
    )
    batch = {"pairs": torch.rand(2, 2, 3, 16, 16)}
    trainer.fit(method(stage, tmp_path), torch.utils.data.DataLoader([batch], batch_size=None))
    assert steps.rates == pytest.approx(RATES[stage])
    assert steps.betas == {BETAS[stage]}


def test_stage_2_and_the_probes_start_from_stage_1_after_20_epochs():
    plan = yaml.safe_load((ROOT / "configs/experiment/facecycle.yaml").read_text())
    assert plan["stages"]["motion"]["arguments"] == {"trainer.max_epochs": 20}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("packed")


def data_of(stage, cache, **changed):
    """The data of a `paper` configuration, on rendered clips."""
    clips = RenderedClips(CLIPS, CLIPS, frames=FRAMES, fps=1.0, part="all", size=SIDE)
    settings = {**config(stage)["data"], "leave_out_tests": False, **changed}
    data = FaceData(sets=[clips], cache=cache, **settings)
    data.prepare_data()
    data.setup()
    return data


@stages
def test_16_pairs_a_step_and_one_pair_a_clip_in_an_epoch(stage, cache):
    assert config(stage)["data"]["batch_size"] == 16
    assert len(data_of(stage, cache, batch_size=8).train_dataloader()) == CLIPS // 8


@stages
def test_which_images_meet(stage, cache):
    """Stage 1: two frames of a clip, or in half of the pairs a frame and its mirror image. Stage 2:
    frames of two clips, never mirrored."""
    data, mirrored, frames, partners = data_of(stage, cache, batch_size=1), [], set(), set()
    for seed in range(10):
        data.seed = seed
        pairs = met(data)
        clips = [
            (first[1].rpartition("/")[0], second[1].rpartition("/")[0])
            for first, second, _ in pairs
        ]
        assert len({first for first, _ in clips}) == len(clips) == CLIPS
        assert all((first == second) == (stage == "motion") for first, second in clips)
        assert all(m == (first == second) for first, second, m in pairs)
        mirrored += [m for _, _, m in pairs]
        frames |= {first for first, _, _ in pairs}
        partners |= {second for _, second in clips}
    share = 0.5 if stage == "motion" else 0.0
    # 240 draws: five standard deviations.
    assert abs(sum(mirrored) / len(mirrored) - share) <= 5 * (share * (1 - share) / 240) ** 0.5
    # Any frame comes first; 10 draws of 4 leave one out with odds of 6 %.
    assert len(frames) > 0.8 * CLIPS * FRAMES
    assert len(partners) == CLIPS


@stages
def test_strengths_of_the_augmentation(stage, cache):
    settings = data_of(stage, cache).augmentation.settings
    assert settings == Augmentation(
        crop_scale=(0.95, 1.05),
        crop_ratio=(0.95, 1.05),
        jitter=0.05,
        hue=0.01,
        jitter_share=0.8,
        grey_share=0.0,
        flip_share=0.5,
        alike=False,
        mirror_augmented=True,
    )


def turned(image):
    """Whether an image that is dark at the left is mirrored."""
    half = image.shape[-1] // 2
    return bool(image[..., :half].mean() > image[..., half:].mean())


@stages
def test_both_frames_are_flipped_and_jittered_independently(stage, cache):
    """But the partner that is a mirror image is that of the augmented first frame."""
    image = torch.linspace(0.3, 0.7, SIDE).expand(256, 2, 3, SIDE, SIDE)
    data = data_of(stage, cache)
    batch = {"pairs": image, "seed": 0, "mirrored": torch.arange(256) % 2 == 0}
    batch["people"] = torch.full((256,), -1)
    pairs = data.on_after_batch_transfer(batch, 0)["pairs"]
    mirror_images, others = pairs[::2], pairs[1::2]
    assert torch.equal(mirror_images[:, 1], mirror_images[:, 0].flip(-1))
    flips = torch.tensor([[turned(image) for image in pair] for pair in others])
    assert 0.35 < (flips[:, 0] != flips[:, 1]).float().mean() < 0.65
    levels = others.mean((2, 3, 4))
    assert abs(torch.corrcoef(levels.T)[0, 1]) < 0.4
    assert levels.std() > 0.005
