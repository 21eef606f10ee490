"""FaceCycle stage 1: the facial-motion cycle, de-expression and re-expression.

Chang, Chen, Chiu: Learning Facial Representations from the Cycle-consistency of Face, ICCV 2021.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
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
from ssl_faces.methods.learning_rate import ADAM_ARGUMENTS, adam
from ssl_faces.methods.method import FRONTAL, MOTION, NEUTRAL, Edit, Method
from ssl_faces.networks.facecycle_encoder import FaceCycleEncoder
from ssl_faces.networks.generator import GENERATOR_LAYERS, Generator
from ssl_faces.networks.motion_decoder import MotionDecoder
from ssl_faces.networks.motion_encoder import Design
from ssl_faces.networks.repair_generator import IMAGE, RepairGenerator
from ssl_faces.networks.standardiser import BatchCentre, BatchStandardiser
from ssl_faces.networks.trunk import LAYERS, VggTrunk, convs_upto
from ssl_faces.networks.warp import inverse_flow, warp

Size = Literal["paper", "small"]
Maps = dict[str, Tensor]

INVERSE_STEPS = 4
"""Fixed-point steps of the inverse flow of the design `repair`."""


@dataclass(frozen=True)
class Widths:
    """Channels and blocks of one size of FaceCycle's networks."""

    encoder: int
    decoder: int
    generator: int
    blocks: int
    trunk: int


SIZES: dict[Size, Widths] = {
    "paper": Widths(encoder=64, decoder=64, generator=256, blocks=8, trunk=64),
    "small": Widths(encoder=64, decoder=16, generator=32, blocks=4, trunk=8),
}


class MotionCycle(NamedTuple):
    """Everything stage 1 renders for 2b pictures: first frames of b pairs, then second frames."""

    flow: Tensor
    inverse: Tensor
    neutral: Tensor
    direct: Tensor
    r1: Tensor  # generator(neutral of the other frame, inverse flow)
    r2: Tensor | None  # generator(the picture, no flow), in the paper's design
    r3: Tensor  # warp(neutral of the other frame, inverse flow)
    r4: Tensor  # warp(direct warp of the other frame, inverse flow)


class FaceCycleMotion(Method):
    """Learns an expression code by making faces neutral and expressive again.

    Batches: `pairs`, float [b, 2, 3, S, S] in [0, 1], two pictures of one person each (or a
    picture and its mirror image).

    Args:
        size: `paper` is the published architecture, `small` the same design for CPUs.
        input_size: side of the pictures, a multiple of 4.
        trunk_weights: VGG trunk of the generator and of the perceptual loss: `imagenet` (the
            paper's), `random`, or a safetensors file.
        trunk_training: `frozen` (the paper's) or `joint`: the generator gets a trunk of its own,
            which starts from the same weights and is trained; the perceptual loss's stays frozen.
            The run's folder then has the trained one, `trunk.safetensors`.
        design: `paper` is the published one. `repair` learns motion within minutes: the
            encoder is batch-normalised and its codes standardised over the batch (see
            `MotionEncoder`), the generator adds to the warped
            image instead of painting it anew (`RepairGenerator`), inverse flows are iterated,
            images continue beyond their border, and r2 is left out.
        noise_std: noise beside the maps that the design `paper` warps.
        perceptual_weight, ssim_weight, symmetry_weight: of the loss terms; pixel L1 has 1.
        fold_weight: of the `FoldLoss` of the flows; the paper has none.
        flow_weight: of the mean square of the flows, in grid units, so that nothing moves without
            need. The paper has none.
        consistency_weight: of the difference between the warped faces of a pair (L1 and 2.5 times
            the SSIM loss), and half of that between each neutral face and its partner's warped
            face, which gets no gradient. The paper has none.
        coarse_weight: of the same L1 terms at a half, a quarter and an eighth of the resolution,
            each. The paper has none.
        decorrelation_weight: of VICReg's covariance term (Bardes et al., ICLR 2022) of the motion
            codes. Standardised codes are of rank 1 without it. The paper has none.
        descriptor_weight: of the squared error of the image's histograms of oriented gradients,
            each standardised over the batch, which a linear layer predicts from the motion
            encoder's map: the target of MaskFeat (Wei et al., CVPR 2022). The paper has none.
        ssim_scale: `normalised` compares pictures as the networks see them, as the authors do;
            `unit` in [0, 1], where SSIM's luminance term is meant to be: short runs then learn
            colours and brightness many times sooner.
        linear_std: of the encoder's first linear weights, see `MotionEncoder`.
        betas: of Adam.
        learning_rates: learning rate from each epoch on (the paper's schedule).
        peak_learning_rate: if given, a cosine schedule with this peak replaces `learning_rates`.
        warmup_steps: linear warm-up of the cosine schedule.
        rate_factors: factors on the learning rate of `encoder`, `decoder` and `generator`; those
            left out have 1.
        exchange: each picture of a pair is rendered from the other's neutral face (the paper's
            cycle); False: from its own, which is auto-encoding.
        map_size: side of the pictures that the trained encoder takes its conv map of, from
            `input_size` on; None is `input_size`. The paper probes the map of 100x100 pictures.

    Raises:
        InputError: a size that the generator can't render, or weights that can't be had.
    """

    name = "facecycle_motion"
    encoder: FaceCycleEncoder
    adjustable = ADAM_ARGUMENTS
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
        super().__init__()
        check_ranges(type(self).__init__, locals(), "model")
        if input_size < 16 or input_size % 4:
            raise InputError(
                f"model.input_size: {input_size}; give a multiple of 4 from 16 on, such as 64"
            )
        if map_size is not None and map_size < input_size:
            raise InputError(
                f"model.map_size: {map_size} is below model.input_size, {input_size}; give at "
                "least that, or leave it out"
            )
        learning_rates = learning_rates or {0: 1e-5, 1: 5e-5, 20: 1e-5}
        betas = (betas[0], betas[1])
        self.save_hyperparameters()
        # Not read from `hparams`: inside stage 2 the command line puts stage 2's there.
        self.size: Size = size
        self.settings: dict[str, Any] = {
            "size": size,
            "input_size": input_size,
            "map_size": map_size,
            "trunk_training": trunk_training,
            "design": design,
            "descriptor_weight": descriptor_weight,
            "noise_std": noise_std,
            "ssim_scale": ssim_scale,
            "linear_std": linear_std,
        }
        self.design: Design = design
        self.ssim_scale = ssim_scale
        self.coarse_weight = coarse_weight
        self.exchange = exchange
        self.learning_rates = learning_rates
        widths = SIZES[size]
        self.encoder = FaceCycleEncoder(
            widths.encoder,
            code_size=input_size,
            map_size=map_size,
            linear_std=linear_std,
            design=design,
        )
        self.decoder = MotionDecoder(widths.decoder, self.encoder.motion.code_dim)
        if design == "repair":
            # Else all flows enlarge what is alike in all faces, by which they agree.
            self.centre = BatchCentre(2, 16, 16)
        shape = (widths.generator, widths.blocks, widths.trunk)
        self.generator: Generator | RepairGenerator = (
            Generator(*shape, noise_std) if design == "paper" else RepairGenerator(*shape)
        )
        self.trunk = VggTrunk(trunk_weights, widths.trunk).freeze()
        # With frozen weights one pass of the one trunk serves generator and perceptual loss.
        self.generator_trunk = self.trunk
        if trunk_training == "joint":
            self.generator_trunk = VggTrunk(trunk_weights, widths.trunk)
            # Beyond what the generator sees there is nothing to learn from.
            for name, conv in self.generator_trunk.convs.items():
                conv.requires_grad_(name in convs_upto("relu3_1"))
        self.ssim = SSIMLoss()
        self.gram = GramLoss()
        self.symmetry = SymmetryLoss()
        self.fold = FoldLoss()
        self.hog = HOG()
        if descriptor_weight:
            length = self.hog.length(input_size)
            self.descriptor = nn.Linear(self.encoder.motion.map_dim, length)
            self.standardised = BatchStandardiser(length)

    def extra_networks(self) -> dict[str, nn.Module]:
        """The trained trunk, for `trunk_weights` of another run."""
        if self.generator_trunk is self.trunk:
            return {}
        return {"trunk": self.generator_trunk}

    def maps(self, x: Tensor) -> Maps:
        """The generator's maps of pictures `x`, and the perceptual loss's where they are shared."""
        layers = LAYERS if self.generator_trunk is self.trunk else GENERATOR_LAYERS
        maps: Maps = dict(self.generator_trunk(x, layers))
        if self.design == "repair":
            maps[IMAGE] = x
        return maps

    def perceptual_maps(self, x: Tensor, maps: Maps) -> Maps:
        """The perceptual loss's features of `x`, taken from `maps(x)` where they are the same."""
        return maps if self.generator_trunk is self.trunk else self.trunk(x)

    def neutralise(
        self, x: Tensor, maps: Maps, code: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Flow and inverse flow [B, 2, 16, 16] and neutral face [B, 3, S, S] of `x`.

        Args:
            code: the motion code of `x`; None computes it.
        """
        if code is None:
            _, code = self.encoder.motion(x)
        flow = self.flow(code)
        return flow, self.inverse(flow), self.generator(maps, flow)

    def flow(self, code: Tensor) -> Tensor:
        """The flow [B, 2, 16, 16] of motion codes [B, D] that takes the motion out."""
        flow: Tensor = self.decoder(code)
        return self.centre(flow) if self.design == "repair" else flow

    def inverse(self, flow: Tensor) -> Tensor:
        """The design's inverse of a flow [B, 2, 16, 16]."""
        return inverse_flow(flow, INVERSE_STEPS if self.design == "repair" else None)

    def warped(self, x: Tensor, flow: Tensor) -> Tensor:
        """Pictures [B, 3, S, S] warped by a flow, as the design does it outside of them."""
        if self.design == "repair":
            return warp(x, flow, padding="border")
        return warp(x, flow, clamp=True)

    @property
    def picture_size(self) -> int:
        return self.encoder.code_size

    @contextmanager
    def editing(self, seed: int = 0) -> Iterator[None]:
        """As in `Method`; every picture has the same noise beside its warped maps."""
        if isinstance(self.generator, Generator):
            self.generator.share_noise(True)
        try:
            with super().editing(seed):
                yield
        finally:
            if isinstance(self.generator, Generator):
                self.generator.share_noise(False)

    def neutral_face(self, images: Tensor, seed: int = 0) -> Tensor:
        """The same people without expression: float [B, 3, S, S] in [0, 1], in and out.

        The paper has one neutral face. Its flow takes out all motion, and as the symmetry loss asks
        for a face like its mirror image, pose is among it: the neutral face is its frontal face too
        (Chang et al. 2021, "frontalization").

        Raises:
            InputError: pictures of another side than `picture_size`.
        """
        with self.editing(seed):
            x = self.encoder.normalise(self.check_side(images))
            _, _, neutral = self.neutralise(x, self.maps(x))
            return self.encoder.denormalise(neutral)

    def flow_of(self, images: Tensor) -> Tensor:
        with self.editing():
            x = self.encoder.normalise(self.check_side(images))
            return self.flow(self.encoder.motion(x)[1])

    def transfer_motion(self, images: Tensor, people: Tensor, seed: int = 0) -> Tensor:
        """The people of `people` with the expression and pose of `images`.

        The neutral faces of `people` moved by the inverse flow of `images`: what the cycle does
        with two frames of one person, here of two people (Chang et al. 2021, "image-to-image
        translation").

        Args:
            images, people: float [B, 3, S, S] in [0, 1], as is what is returned.

        Raises:
            InputError: pictures of another side than `picture_size`.
        """
        with self.editing(seed):
            x, other = (
                self.encoder.normalise(self.check_side(pictures)) for pictures in (images, people)
            )
            inverse = self.inverse(self.flow(self.encoder.motion(x)[1]))
            _, _, neutral = self.neutralise(other, self.maps(other))
            return self.encoder.denormalise(self.generator(self.maps(neutral), inverse))

    def edits(self) -> dict[str, Edit]:
        return {
            NEUTRAL: self.neutral_face,
            FRONTAL: self.neutral_face,
            MOTION: self.transfer_motion,
        }

    def edit_networks(self) -> tuple[str, ...]:
        own = ("centre",) if self.design == "repair" else ()
        return ("decoder", *own, "generator", "trunk", "generator_trunk")

    def check_side(self, images: Tensor) -> Tensor:
        """`images`, if they are of the side that the networks are for.

        Raises:
            InputError: they are not.
        """
        side, size = images.shape[-1], self.encoder.code_size
        if side != size:
            raise InputError(
                f"data.size: pictures of side {side} for networks of input_size {size}; "
                f"set --data.size {size}"
            )
        return images

    def cycle(self, x: Tensor) -> tuple[MotionCycle, dict[str, Tensor]]:
        """Both directions of the cycle for normalised frames `x` [2b, 3, S, S], and its losses.

        Returns:
            The rendered pictures, and the loss terms before their weights.
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
            "symmetry": self.symmetry(neutral) + 0.5 * self.symmetry(cycle.direct),
            "fold": self.fold(cycle.flow),
        }
        if self.design == "repair":
            # An iterated inverse can fold where the flow doesn't.
            losses["fold"] = losses["fold"] + self.fold(cycle.inverse)
        if self.hparams["flow_weight"]:
            losses["flow"] = cycle.flow.square().mean()
        if self.hparams["consistency_weight"]:
            # Two painted faces would agree best without eyes and mouth: flows must agree, and
            # painting must reach the partner's warped face.
            first, second = cycle.direct.float().chunk(2)
            partner = torch.cat((second, first)).detach()
            losses["consistency"] = self._difference(first, second)
            losses["consistency"] += 0.5 * self._difference(neutral, partner)
        return losses

    def _difference(self, rendered: Tensor, target: Tensor) -> Tensor:
        """L1 and SSIM loss, weighted as in the cycle's terms."""
        return self._l1(rendered, target) + 2.5 * self.ssim_loss(rendered[None], target)[0]

    def _l1(self, rendered: Tensor, x: Tensor) -> Tensor:
        """L1, and `coarse_weight` times that of the pictures shrunk by 2, 4 and 8, each."""
        loss = F.l1_loss(rendered, x)
        if self.coarse_weight:
            for factor in (2, 4, 8):
                coarse, target = (F.avg_pool2d(of, factor) for of in (rendered, x))
                loss = loss + self.coarse_weight * F.l1_loss(coarse, target)
        return loss

    def ssim_loss(self, rendered: Tensor, x: Tensor) -> Tensor:
        """SSIM losses [K] of K renderings [K, N, 3, S, S] of pictures `x` [N, 3, S, S]."""
        if self.ssim_scale == "unit":
            mean, std = self.encoder.mean, self.encoder.std
            rendered, x = rendered * std + mean, x * std + mean
        return self.ssim(rendered, x)

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of the loss terms."""
        total = losses["pixel"]
        for name, loss in losses.items():
            if name != "pixel":
                total = total + self.hparams[f"{name}_weight"] * loss
        return total

    def frames(self, batch: Mapping[str, Any]) -> Tensor:
        """Normalised frames [2b, 3, S, S]: first frames of the pairs, then second frames.

        Raises:
            InputError: pictures of another size than the networks are for.
        """
        pairs = self.check_side(batch["pairs"])
        return self.encoder.normalise(pairs.transpose(0, 1).flatten(0, 1))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        _, losses = self.cycle(self.frames(batch))
        total = self.total(losses)
        self.log("loss", total, prog_bar=True)
        self.log_dict({f"loss/{name}": value for name, value in losses.items()})
        return total

    def configure_optimizers(self) -> Any:
        return adam(
            self,
            self.hparams["betas"],
            self.learning_rates,
            self.hparams["peak_learning_rate"],
            self.hparams["warmup_steps"],
            self.hparams["rate_factors"],
        )

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
