"""FaceCycle stage 1: the facial-motion cycle, de-expression and re-expression.

Chang, Chen, Chiu: Learning Facial Representations from the Cycle-consistency of Face, ICCV 2021.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from lightly.loss.vicreg_loss import covariance_loss
from torch import Tensor, nn

from ssl_faces.common.errors import InputError
from ssl_faces.common.ranges import (
    ImageSide,
    NonNegativeFloat,
    NonNegativeInt,
    UnitBelow1,
    check_ranges,
)
from ssl_faces.losses.fold import FoldLoss
from ssl_faces.losses.gram import GramLoss
from ssl_faces.losses.hog import HOG
from ssl_faces.losses.ssim import SSIMLoss
from ssl_faces.losses.symmetry import SymmetryLoss
from ssl_faces.methods.cycle_method import CycleMethod
from ssl_faces.methods.motion_networks import MotionNetworks, Size
from ssl_faces.networks.generator import GENERATOR_LAYERS
from ssl_faces.networks.motion_encoder import Design
from ssl_faces.networks.repair_generator import IMAGE
from ssl_faces.networks.standardiser import BatchStandardiser
from ssl_faces.networks.trunk import LAYERS

REBUILT_FROM = (
    *("size", "input_size", "map_size", "trunk_training", "design"),
    *("descriptor_weight", "noise_std", "ssim_scale", "linear_std", "neutral_weight"),
)
"""The arguments that networks and edits depend on: a method is built from them again."""


class MotionCycle(NamedTuple):
    """Everything stage 1 renders for 2b images: first frames of b pairs, then second frames."""

    flow: Tensor
    inverse: Tensor
    neutral: Tensor
    direct: Tensor
    r1: Tensor  # generator(neutral of the other frame, inverse flow)
    r2: Tensor | None  # generator(the image, no flow), in the paper's design
    r3: Tensor  # warp(neutral of the other frame, inverse flow)
    r4: Tensor  # warp(direct warp of the other frame, inverse flow)


class FaceCycleMotion(MotionNetworks, CycleMethod):
    """Learns an expression code by making faces neutral and expressive again.

    Batches: `pairs`, float [b, 2, 3, S, S] in [0, 1], two images of one person (or an image
    and its mirror image).

    Args:
        size: `paper` is the published architecture, `small` the same design for CPUs.
        input_size: side of the images, a multiple of 4.
        trunk_weights: VGG trunk of the generator and of the perceptual loss: `imagenet` (the
            paper's), `hed` (a VGG-16 that needs no download), `random`, or a safetensors file.
        trunk_training: `frozen` (the paper's), or `joint`: the generator has its own trunk, which
            starts from the same weights and is trained. It is saved as `trunk.safetensors`.
        design: `paper` is the published one. `repair` learns motion within minutes: the encoder is
            batch-normalised and its codes standardised over the batch (see `MotionEncoder`), the
            generator adds to the warped image (`RepairGenerator`), flows have a mean of zero over
            the batch, inverse flows are iterated, warps use border padding, and r2 is left out.
        noise_std: standard deviation of the noise that the design `paper` adds to warped maps.
        perceptual_weight, ssim_weight, symmetry_weight: of the loss terms; pixel L1 has 1.
        fold_weight: of the `FoldLoss` of the flows; the paper has none.
        flow_weight: of the mean square of the flows, in grid units, of the faces without a known
            true neutral face. The paper has none.
        consistency_weight: of the difference (L1 and 2.5 times the SSIM loss) between r4 and the
            image, and a quarter of that between each neutral face and its partner's warped face,
            of which the warps of the images get no gradient. The paper has none.
        coarse_weight: of the same L1 terms at a half, a quarter and an eighth of the resolution,
            each. The paper has none.
        decorrelation_weight: of VICReg's covariance term (Bardes et al., ICLR 2022) of the motion
            codes. Standardised codes are of rank 1 without it. The paper has none.
        descriptor_weight: of the squared error of the image's histograms of oriented gradients,
            each standardised over the batch, which a linear layer predicts from the motion
            encoder's map: the target of MaskFeat (Wei et al., CVPR 2022). The paper has none.
        neutral_weight: of the difference (as above) between the neutral faces and the true neutral
            frontal face, and half of that between the warped faces and it, for the faces that have
            one: rendered ones (`data.neutral_faces`). It says which face is neutral, so flows are
            not centred over the batch. The paper has none.
        repair_weight: of the mean absolute difference between the neutral and the warped faces, for
            the faces without a known true neutral one. It takes the place of the neutral faces'
            symmetry and of their likeness to the partner's warped face: painting that pleased
            these showed two faces in one on photographs. The paper has none.
        ssim_scale: `normalised` compares normalised images, as the authors do; `unit` images in
            [0, 1], the range of SSIM's constants: short runs learn colours and brightness sooner.
        linear_std: of the encoder's first linear weights, see `MotionEncoder`.
        betas: of Adam.
        learning_rates: learning rate from each epoch on (the paper's schedule).
        peak_learning_rate: if given, a cosine schedule with this peak replaces `learning_rates`.
        warmup_steps: linear warm-up of the cosine schedule.
        rate_factors: factors on the learning rate of `encoder`, `decoder` and `generator`; by
            default 1.
        exchange: each image of a pair is rendered from the other's neutral face (the paper's
            cycle); False: from its own (auto-encoding).
        map_size: side of the images from which the trained encoder computes its conv map, at least
            `input_size`, the default. The paper probes the map of 100x100 images.

    Raises:
        InputError: an unsupported size, or weights that can't be loaded.
    """

    name = "facecycle_motion"
    by_content: ClassVar[Mapping[str, str]] = {"trunk_weights": "trunk."}

    def __init__(
        self,
        size: Size = "paper",
        input_size: ImageSide = 64,
        trunk_weights: str = "imagenet",
        trunk_training: Literal["frozen", "joint"] = "frozen",
        design: Design = "paper",
        noise_std: NonNegativeFloat = 1.0,
        perceptual_weight: NonNegativeFloat = 0.01,
        ssim_weight: NonNegativeFloat = 5.0,
        symmetry_weight: NonNegativeFloat = 1.5,
        fold_weight: NonNegativeFloat = 0.0,
        flow_weight: NonNegativeFloat = 0.0,
        consistency_weight: NonNegativeFloat = 0.0,
        coarse_weight: NonNegativeFloat = 0.0,
        decorrelation_weight: NonNegativeFloat = 0.0,
        descriptor_weight: NonNegativeFloat = 0.0,
        neutral_weight: NonNegativeFloat = 0.0,
        repair_weight: NonNegativeFloat = 0.0,
        ssim_scale: Literal["normalised", "unit"] = "normalised",
        linear_std: NonNegativeFloat = 0.01,
        betas: tuple[UnitBelow1, UnitBelow1] = (0.5, 0.999),
        learning_rates: dict[int, NonNegativeFloat] | None = None,
        peak_learning_rate: NonNegativeFloat | None = None,
        warmup_steps: NonNegativeInt = 100,
        rate_factors: dict[str, NonNegativeFloat] | None = None,
        exchange: bool = True,
        map_size: ImageSide | None = None,
    ) -> None:
        arguments = dict(locals())
        check_ranges(type(self).__init__, arguments, "model")
        if input_size < 16 or input_size % 4:
            raise InputError(
                f"model.input_size: {input_size}; give a multiple of 4 from 16 on, such as 64"
            )
        if map_size is not None and map_size < input_size:
            raise InputError(
                f"model.map_size: {map_size} is below model.input_size, {input_size}; give at "
                "least that, or leave it out"
            )
        super().__init__(
            size,
            input_size,
            map_size,
            trunk_weights,
            trunk_training,
            design,
            noise_std,
            linear_std,
            centre_flows=not neutral_weight,
        )
        learning_rates = learning_rates or {0: 1e-5, 1: 5e-5, 20: 1e-5}
        betas = (betas[0], betas[1])
        self.save_hyperparameters()
        # Not read from `hparams`: inside stage 2 the command line puts stage 2's there.
        self.settings = {name: arguments[name] for name in REBUILT_FROM}
        self.ssim_scale = ssim_scale
        self.coarse_weight = coarse_weight
        self.exchange = exchange
        self.learning_rates = learning_rates
        self.ssim = SSIMLoss()
        self.gram = GramLoss()
        self.symmetry = SymmetryLoss()
        self.fold = FoldLoss()
        self.hog = HOG()
        if descriptor_weight:
            length = self.hog.length(input_size)
            self.descriptor = nn.Linear(self.encoder.motion.map_dim, length)
            self.standardised = BatchStandardiser(length)

    def cycle(
        self, x: Tensor, true: Tensor | None = None, known: Tensor | None = None
    ) -> tuple[MotionCycle, dict[str, Tensor]]:
        """Both directions of the cycle for normalised frames `x` [2b, 3, S, S], and its losses.

        Args:
            true: the frames' true neutral frontal faces, normalised, of the same shape.
            known: float [2b], 1 for the frames whose true face is known, else 0.

        Returns:
            The rendered images, and the loss terms before their weights.
        """
        half = x.shape[0] // 2

        def swap(t: Tensor) -> Tensor:
            return t.roll(half, 0) if self.exchange else t

        maps = self.maps(x)
        conv_map, code = self.encoder.motion(x)
        flow, inverse, neutral = self.neutralise(x, maps, code)
        neutral_maps = self.maps(neutral)
        others_maps = {
            name: swap(of)
            for name, of in neutral_maps.items()
            if name in (*GENERATOR_LAYERS, IMAGE)
        }
        direct = self.warped(x, flow)
        cycle = MotionCycle(
            flow,
            inverse,
            neutral,
            direct,
            r1=self.generator(others_maps, inverse),
            # A generator that starts from the image has nothing to learn from it.
            r2=self.generator(maps) if self.design == "paper" else None,
            r3=self.warped(swap(neutral), inverse),
            r4=self.warped(swap(direct), inverse),
        )
        losses = self._losses(x, cycle)
        free = x.new_ones(1) if known is None else 1 - known[:, None, None, None]
        if self.hparams["flow_weight"]:
            losses["flow"] = (flow.square() * free).mean()
        if self.hparams["repair_weight"]:
            losses["repair"] = ((neutral.float() - direct.float()).abs() * free).mean()
        if true is not None and known is not None:
            losses["neutral"] = self._to_truth(neutral, true, known)
            losses["neutral"] += 0.5 * self._to_truth(direct, true, known)
        if self.hparams["decorrelation_weight"]:
            losses["decorrelation"] = covariance_loss(code)
        if self.hparams["descriptor_weight"]:
            target = self.standardised(self.hog(self.encoder.denormalise(x)))
            predicted = self.descriptor(conv_map.flatten(1)).float()
            losses["descriptor"] = F.mse_loss(predicted, target)
        if self.hparams["perceptual_weight"]:
            warped = self.trunk(torch.cat((cycle.r3, cycle.r4, cycle.r1)))
            of_neutral = self.perceptual_maps(neutral, neutral_maps)
            target = self.perceptual_maps(x, maps)
            losses["perceptual"] = self.gram(
                {name: torch.cat((of_neutral[name], warped[name])) for name in LAYERS}, target
            )
        return cycle, losses

    def _losses(self, x: Tensor, cycle: MotionCycle) -> dict[str, Tensor]:
        weighted = [(1.0, cycle.r1), (1.0, cycle.r2), (1.5, cycle.r4)]
        shown = [(weight, r.float()) for weight, r in weighted if r is not None]
        pixel = sum(weight * self._l1(r, x) for weight, r in shown) + self._l1(cycle.r3, x)
        ssim = self.ssim_loss(torch.stack([r for _, r in shown]), x)
        neutral = cycle.neutral.float()
        losses = {
            "pixel": pixel,
            "ssim": sum(weight * loss for (weight, _), loss in zip(shown, ssim, strict=True)),
            "symmetry": 0.5 * self.symmetry(cycle.direct),
            "fold": self.fold(cycle.flow),
        }
        if not self.hparams["repair_weight"]:
            losses["symmetry"] = losses["symmetry"] + self.symmetry(neutral)
        if self.design == "repair":
            # An iterated inverse can fold where the flow doesn't.
            losses["fold"] = losses["fold"] + self.fold(cycle.inverse)
        if self.hparams["consistency_weight"]:
            # Compared where the image is: neutral faces agree best if flows shrink what differs.
            direct = cycle.direct.float()
            losses["consistency"] = self._difference(cycle.r4.float(), x)
            if not self.hparams["repair_weight"]:
                # Painting must reach the partner's warped face; the images' warps get no gradient.
                partner = direct.detach().roll(len(direct) // 2, 0)
                painted = neutral - direct + direct.detach()
                losses["consistency"] += 0.25 * self._difference(painted, partner)
        return losses

    def _to_truth(self, faces: Tensor, true: Tensor, known: Tensor) -> Tensor:
        """`_difference` of the frames that are `known`: their share of the batch times its mean."""
        known = known[:, None, None, None]
        return self._difference(faces.float() * known, true * known)

    def _difference(self, rendered: Tensor, target: Tensor) -> Tensor:
        """L1 and SSIM loss, weighted as in the cycle's terms."""
        return self._l1(rendered, target) + 2.5 * self.ssim_loss(rendered[None], target)[0]

    def _l1(self, rendered: Tensor, x: Tensor) -> Tensor:
        """L1, and `coarse_weight` times that of the images shrunk by 2, 4 and 8, each."""
        loss = F.l1_loss(rendered, x)
        if self.coarse_weight:
            for factor in (2, 4, 8):
                coarse, target = (F.avg_pool2d(of, factor) for of in (rendered, x))
                loss = loss + self.coarse_weight * F.l1_loss(coarse, target)
        return loss

    def ssim_loss(self, rendered: Tensor, x: Tensor) -> Tensor:
        """SSIM losses [K] of K renderings [K, N, 3, S, S] of images `x` [N, 3, S, S]."""
        if self.ssim_scale == "unit":
            mean, std = self.encoder.mean, self.encoder.std
            rendered, x = rendered * std + mean, x * std + mean
        return self.ssim(rendered, x)

    def frames(self, batch: Mapping[str, Any]) -> Tensor:
        """Normalised frames [2b, 3, S, S]: first frames of the pairs, then second frames.

        Raises:
            InputError: the images have another size than the networks.
        """
        pairs = self.check_side(batch["pairs"])
        return self.encoder.normalise(pairs.transpose(0, 1).flatten(0, 1))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        true, known = None, None
        if self.hparams["neutral_weight"]:
            if "neutral" not in batch:
                raise InputError(
                    "model.neutral_weight: the batches have no neutral faces; set "
                    "data.neutral_faces=true, or leave it out"
                )
            mirror = batch["mirrored"][:, None, None, None]
            second = torch.where(mirror, batch["neutral"].flip(-1), batch["neutral"])
            true = self.encoder.normalise(torch.cat((batch["neutral"], second)))
            known = batch["has_neutral"].float().repeat(2)
        _, losses = self.cycle(self.frames(batch), true, known)
        return self.logged(losses)

    @torch.no_grad()
    def panels(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Pictures [2b, 3, S, S] in [0, 1] to look at, by name; `flow` is [2b, 2, 16, 16]."""
        x = self.frames(batch)
        cycle, _ = self.cycle(x)
        show = self.encoder.denormalise
        return {
            "source": show(x),
            "neutral": show(cycle.neutral),
            "direct warp": show(cycle.direct),
            "reconstruction": show(cycle.r1),
            "warped back": show(cycle.r4),
            **({} if cycle.r2 is None else {"auto-encoded": show(cycle.r2)}),
            "flow": cycle.flow,
        }
