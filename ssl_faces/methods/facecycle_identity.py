"""FaceCycle stage 2: the identity cycle, de-identity and re-identity.

Chang, Chen, Chiu: Learning Facial Representations from the Cycle-consistency of Face, ICCV 2021.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from lightly.loss import NTXentLoss
from torch import Tensor, nn

from ssl_faces.common.checkpoints import read_checkpoint
from ssl_faces.common.errors import InputError
from ssl_faces.common.ranges import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    UnitBelow1,
    check_ranges,
)
from ssl_faces.losses.gram import GramLoss
from ssl_faces.losses.margin import MarginLoss
from ssl_faces.losses.symmetry import SymmetryLoss
from ssl_faces.methods.centred_views import CentredViews
from ssl_faces.methods.cycle_method import CycleMethod
from ssl_faces.methods.facecycle_motion import REBUILT_FROM, FaceCycleMotion
from ssl_faces.methods.method import (
    FRONTAL,
    MEAN,
    MOTION,
    NEUTRAL,
    SWAP,
    Edit,
    check_method,
    load_weights,
)
from ssl_faces.methods.motion_networks import SIZES
from ssl_faces.methods.released import find_released, load_released, settings_from
from ssl_faces.networks.facecycle_encoder import FaceCycleEncoder
from ssl_faces.networks.renormaliser import Direction, ReNormaliser
from ssl_faces.networks.standardiser import mean_over_devices


class IdentityCycle(NamedTuple):
    """Everything stage 2 renders for N images."""

    neutral: Tensor
    mean_face: Tensor  # [1, 3, S, S], over all images of all devices
    reidentified: Tensor
    r5: Tensor  # warp(re-identified, inverse flow)
    r6: Tensor  # generator(re-identified, inverse flow)


class RunningFace(nn.Module):
    """The running average of faces: their mean over 100 batches, then an exponential average.

    Args:
        size: side of the faces.

    Attributes:
        face: float32 [1, 3, size, size]; zero before the first batch.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("face", torch.zeros(1, 3, size, size))
        self.register_buffer("batches", torch.zeros(()))
        self.face: Tensor
        self.batches: Tensor

    @torch.no_grad()
    def take(self, faces: Tensor) -> None:
        """Take faces [N, 3, size, size] of a batch of all devices into the average."""
        self.batches += 1
        weight = (1 / self.batches).clamp_min(0.01)
        self.face += weight * (mean_over_devices(faces.float()) - self.face)


class FaceCycleIdentity(CycleMethod):
    """Learns an identity code by removing the identity from neutral faces and adding it again.

    The motion encoder, decoder and generator of stage 1 are frozen.

    Args:
        motion_checkpoint: stage 1's checkpoint (`RUN/checkpoints/last.ckpt`), or one of stage 2,
            which holds its stage 1; or the name of a released method that has it.
        perceptual_weight, ssim_weight, symmetry_weight, margin_weight: of the loss terms; pixel
            L1 has 1.
        margin: of the margin term.
        agreement_weight: of the L1 between each image's own mean face and that of the batch. The
            paper has none.
        contrast_weight: of SimCLR's contrast (Chen et al., ICML 2020): the identity codes of two
            images of one person, in strong views without their background (`CentredViews`), among
            all others of the batch. The paper has none.
        temperature: of the contrast's softmax over cosines.
        betas: of Adam.
        learning_rates: learning rate from each epoch on (the paper's schedule).
        peak_learning_rate: if given, a cosine schedule with this peak replaces `learning_rates`.
        warmup_steps: linear warm-up of the cosine schedule.
        rate_factors: factors on the learning rate of `encoder` and `renormaliser`; by default 1.

    Raises:
        InputError: the checkpoint can't be used.
    """

    name = "facecycle_identity"
    encoder: FaceCycleEncoder
    by_content: ClassVar[Mapping[str, str]] = {"motion_checkpoint": "motion."}

    def __init__(
        self,
        motion_checkpoint: Path | str,
        perceptual_weight: NonNegativeFloat = 0.01,
        ssim_weight: NonNegativeFloat = 5.0,
        symmetry_weight: NonNegativeFloat = 1.5,
        margin_weight: NonNegativeFloat = 1.0,
        margin: NonNegativeFloat = 0.1,
        agreement_weight: NonNegativeFloat = 0.0,
        contrast_weight: NonNegativeFloat = 0.0,
        temperature: PositiveFloat = 0.2,
        betas: tuple[UnitBelow1, UnitBelow1] = (0.5, 0.9),
        learning_rates: dict[int, NonNegativeFloat] | None = None,
        peak_learning_rate: NonNegativeFloat | None = None,
        warmup_steps: NonNegativeInt = 100,
        rate_factors: dict[str, NonNegativeFloat] | None = None,
    ) -> None:
        super().__init__()
        check_ranges(type(self).__init__, locals(), "model")
        motion_checkpoint = str(motion_checkpoint)
        learning_rates = learning_rates or {0: 5e-5, 1: 1e-4, 10: 1e-5}
        self.save_hyperparameters()
        self.learning_rates = learning_rates
        self.motion = load_motion(motion_checkpoint)
        widths = SIZES[self.motion.size]
        stage1 = self.motion.encoder
        self.encoder = FaceCycleEncoder(**{**stage1.config, "identity": True})
        self.encoder.motion = stage1.motion
        assert self.encoder.identity is not None
        self.identity = self.encoder.identity
        self.renormaliser = ReNormaliser(
            widths.generator,
            trunk_width=widths.trunk,
            code_dim=self.identity.code_dim,
            design=self.motion.design,
        )
        if self.motion.design == "repair":
            # What is painted to take the identity out is added to it.
            self.average = RunningFace(self.motion.picture_size)
        self.gram = GramLoss()
        self.symmetry = SymmetryLoss()
        self.margin = MarginLoss(margin)
        self.views = CentredViews(self.picture_size)
        self.contrast = NTXentLoss(temperature, gather_distributed=True)

    def train(self, mode: bool = True) -> FaceCycleIdentity:
        super().train(mode)
        self.motion.eval()
        return self

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        # With them stage 2 can be loaded where its stage 1 is gone.
        checkpoint["motion_settings"] = self.motion.settings

    @property
    def picture_size(self) -> int:
        return self.motion.picture_size

    @contextmanager
    def editing(self, seed: int = 0) -> Iterator[None]:
        """As in stage 1."""
        with self.motion.editing(seed), super().editing(seed):
            yield

    def neutral_face(self, images: Tensor, seed: int = 0) -> Tensor:
        """Stage 1's neutral face."""
        return self.motion.neutral_face(images, seed)

    def swap_identity(self, images: Tensor, identity_of: Tensor, seed: int = 0) -> Tensor:
        """The faces of `images` with the identity of the people of `identity_of`.

        Each image's own mean face is re-identified with the other person's identity code, and
        moved back by the image's inverse flow (Chang et al. 2021, "identity swap").

        Args:
            images, identity_of: float [B, 3, S, S] in [0, 1], like the result.

        Raises:
            InputError: the side of the images is not `picture_size`.
        """
        with self.editing(seed):
            x, y = (
                self.encoder.normalise(self.motion.check_side(faces))
                for faces in (images, identity_of)
            )
            _, inverse, neutral = self.motion.neutralise(x, self.motion.maps(x))
            codes = self.identity(torch.cat((x, y)))[1].chunk(2)
            mean_face = self._renormalised(neutral, codes[0], "deidentify")
            swapped = self._renormalised(mean_face, codes[1], "reidentify")
            moved = self.motion.generator(self.motion.maps(swapped), inverse)
            return self.encoder.denormalise(moved)

    def mean_face(self, images: Tensor, seed: int = 0) -> Tensor:
        """The neutral faces of `images` without their identity: float [B, 3, S, S] in [0, 1], in
        and out. After enough training all are one face.

        Raises:
            InputError: the side of the images is not `picture_size`.
        """
        with self.editing(seed):
            x = self.encoder.normalise(self.motion.check_side(images))
            _, _, neutral = self.motion.neutralise(x, self.motion.maps(x))
            mean_face = self._renormalised(neutral, self.identity(x)[1], "deidentify")
            return self.encoder.denormalise(mean_face)

    def flow_of(self, images: Tensor) -> Tensor:
        """Stage 1's."""
        return self.motion.flow_of(images)

    def transfer_motion(self, images: Tensor, people: Tensor, seed: int = 0) -> Tensor:
        """Stage 1's."""
        return self.motion.transfer_motion(images, people, seed)

    def edits(self) -> dict[str, Edit]:
        return {
            NEUTRAL: self.neutral_face,
            FRONTAL: self.neutral_face,
            SWAP: self.swap_identity,
            MOTION: self.transfer_motion,
            MEAN: self.mean_face,
        }

    def edit_networks(self) -> tuple[str, ...]:
        own = ("renormaliser",) if self.motion.design == "paper" else ("renormaliser", "average")
        return (*(f"motion.{name}" for name in self.motion.edit_networks()), *own)

    def _renormalised(self, face: Tensor, code: Tensor, direction: Direction) -> Tensor:
        """Faces [N, 3, S, S] without identity, or with that of the codes [N, code_dim].

        Args:
            face: of N people, or [1, 3, S, S].
        """
        # One face's trunk features are computed once.
        coarse = self._coarse(face).expand(len(code), -1, -1, -1)
        rendered = self.renormaliser(coarse, code, direction)
        if self.motion.design == "paper":
            return rendered
        return (self.average.face if direction == "deidentify" else face) + rendered.float()

    def _coarse(self, x: Tensor) -> Tensor:
        return self.motion.generator_trunk(x, ("relu3_1",))["relu3_1"]

    def cycle(self, x: Tensor) -> tuple[IdentityCycle, dict[str, Tensor]]:
        """The identity cycle of normalised images [N, 3, S, S], and its loss terms, unweighted.

        Under DDP the mean face is the mean over the images of all devices.
        """
        with torch.no_grad():
            maps = self.motion.maps(x)
            _, inverse, neutral = self.motion.neutralise(x, maps)
            if self.hparams["perceptual_weight"]:
                target = self.motion.perceptual_maps(x, maps)
        if self.training and self.motion.design == "repair":
            self.average.take(neutral)
        _, code = self.identity(x)
        deidentified = self._renormalised(neutral, code, "deidentify")
        mean_face = mean_over_devices(deidentified.float())
        reidentified = self._renormalised(mean_face, code, "reidentify")
        r5 = self.motion.warped(reidentified, inverse)
        r6 = self.motion.generator(self.motion.maps(reidentified), inverse)

        pixel, ssim = F.l1_loss, self.motion.ssim_loss(torch.stack((r6.float(), r5)), x)
        losses = {
            "pixel": pixel(r6.float(), x)
            + 0.8 * pixel(r5, x)
            + pixel(reidentified.float(), neutral.float()),
            "ssim": ssim[0] + 0.8 * ssim[1],
            "symmetry": self.symmetry(reidentified.float()),
            "margin": self.margin(mean_face, neutral.float()),
        }
        if self.hparams["perceptual_weight"]:
            losses["perceptual"] = self.gram(self.motion.trunk(torch.cat((r5, r6))), target)
        if self.hparams["agreement_weight"]:
            mean_faces = mean_face.detach().expand_as(deidentified)
            losses["agreement"] = pixel(deidentified.float(), mean_faces)
        return IdentityCycle(neutral, mean_face, reidentified, r5, r6), losses

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        _, losses = self.cycle(self.motion.frames(batch))
        if self.hparams["contrast_weight"]:
            views = self.views(batch["pairs"]).transpose(0, 1).flatten(0, 1)
            _, codes = self.identity(self.encoder.normalise(views))
            losses["contrast"] = self.contrast(*codes.float().chunk(2))
        return self.logged(losses)

    @torch.no_grad()
    def panels(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        x = self.motion.frames(batch)
        cycle, _ = self.cycle(x)
        show = self.encoder.denormalise
        return {
            "source": show(x),
            "neutral": show(cycle.neutral),
            "mean face": show(cycle.mean_face).expand_as(x),
            "re-identified": show(cycle.reidentified),
            "reconstruction": show(cycle.r6),
            "warped back": show(cycle.r5),
        }


def load_motion(path: Path | str) -> FaceCycleMotion:
    """Stage 1 from a checkpoint, frozen.

    Args:
        path: a checkpoint of stage 1, or of stage 2, which holds its stage 1; or the folder or name
            of either's release.

    Raises:
        InputError: not a whole checkpoint or release of either.
    """
    released = None if Path(path).is_file() else find_released(path)
    if released is not None:
        name, built_from = settings_from(released)
        motion = build_motion(released, built_from)
        load_released(released, motion, "motion." if name == FaceCycleIdentity.name else "")
        motion.eval().requires_grad_(False)
        return motion
    checkpoint = read_checkpoint(path)
    settings, state = checkpoint.get("hyper_parameters"), checkpoint["state_dict"]
    if "motion_settings" in checkpoint:
        settings = checkpoint["motion_settings"]
        state = {k.removeprefix("motion."): v for k, v in state.items() if k.startswith("motion.")}
    else:
        check_method(path, checkpoint, FaceCycleMotion.name)
    motion = build_motion(path, settings)
    load_weights(path, motion, state)
    motion.eval().requires_grad_(False)
    return motion


_ADDED = {"map_size": None, "design": "paper", "descriptor_weight": 0.0, "neutral_weight": 0.0}
"""Arguments that older runs and releases lack, and what these were trained with."""


def build_motion(path: Path | str, settings: Any) -> FaceCycleMotion:
    """Stage 1 of these settings of the checkpoint `path`, with fresh weights.

    Raises:
        InputError: they are not those of stage 1.
    """
    try:
        known = {**_ADDED, **settings}
        # The checkpoint holds the trunk's weights.
        return FaceCycleMotion(
            trunk_weights="random", **{name: known[name] for name in REBUILT_FROM}
        )
    except (KeyError, TypeError) as error:
        raise InputError(
            f"checkpoint {path}: its settings are not those of a {FaceCycleMotion.name}; it was "
            "made by another version, train stage 1 again"
        ) from error
