"""The networks of FaceCycle's stage 1, what they render, and how they edit images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from ssl_faces.common.errors import InputError
from ssl_faces.methods.method import FRONTAL, MOTION, NEUTRAL, Edit, Method
from ssl_faces.networks.facecycle_encoder import FaceCycleEncoder
from ssl_faces.networks.generator import GENERATOR_LAYERS, Generator
from ssl_faces.networks.motion_decoder import MotionDecoder
from ssl_faces.networks.motion_encoder import Design
from ssl_faces.networks.repair_generator import IMAGE, RepairGenerator
from ssl_faces.networks.standardiser import BatchCentre
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


class MotionNetworks(Method):
    """Encoder, flow decoder and generator of stage 1; arguments as in `FaceCycleMotion`."""

    encoder: FaceCycleEncoder

    def __init__(
        self,
        size: Size,
        input_size: int,
        map_size: int | None,
        trunk_weights: str,
        trunk_training: Literal["frozen", "joint"],
        design: Design,
        noise_std: float,
        linear_std: float,
        centre_flows: bool,
    ) -> None:
        super().__init__()
        self.size: Size = size
        self.design: Design = design
        widths = SIZES[size]
        self.encoder = FaceCycleEncoder(
            widths.encoder,
            code_size=input_size,
            map_size=map_size,
            linear_std=linear_std,
            design=design,
        )
        self.decoder = MotionDecoder(widths.decoder, self.encoder.motion.code_dim)
        self.centre = None
        if design == "repair" and centre_flows:
            # Else all flows enlarge what faces have in common, and agree by that.
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

    def extra_networks(self) -> dict[str, nn.Module]:
        """The trained trunk, for `trunk_weights` of another run."""
        if self.generator_trunk is self.trunk:
            return {}
        return {"trunk": self.generator_trunk}

    def maps(self, x: Tensor) -> Maps:
        """The generator's maps of images `x`; with one trunk, those of the perceptual loss too."""
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
        return flow if self.centre is None else self.centre(flow)

    def inverse(self, flow: Tensor) -> Tensor:
        """The design's inverse of a flow [B, 2, 16, 16]."""
        return inverse_flow(flow, INVERSE_STEPS if self.design == "repair" else None)

    def warped(self, x: Tensor, flow: Tensor) -> Tensor:
        """Images [B, 3, S, S] warped by a flow, with the design's padding."""
        if self.design == "repair":
            return warp(x, flow, padding="border")
        return warp(x, flow, clamp=True)

    @property
    def picture_size(self) -> int:
        return self.encoder.code_size

    @contextmanager
    def editing(self, seed: int = 0) -> Iterator[None]:
        """As in `Method`; all images get the same noise on their warped maps."""
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

        It is also the frontal face (Chang et al. 2021, "frontalization"): the flow removes all
        motion, and the symmetry loss makes pose part of the motion.

        Raises:
            InputError: the side of the images is not `picture_size`.
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

        The neutral faces of `people`, moved by the inverse flow of `images` (Chang et al. 2021,
        "image-to-image translation").

        Args:
            images, people: float [B, 3, S, S] in [0, 1], like the result.

        Raises:
            InputError: the side of the images is not `picture_size`.
        """
        with self.editing(seed):
            x, y = (self.encoder.normalise(self.check_side(faces)) for faces in (images, people))
            inverse = self.inverse(self.flow(self.encoder.motion(x)[1]))
            _, _, neutral = self.neutralise(y, self.maps(y))
            return self.encoder.denormalise(self.generator(self.maps(neutral), inverse))

    def edits(self) -> dict[str, Edit]:
        return {
            NEUTRAL: self.neutral_face,
            FRONTAL: self.neutral_face,
            MOTION: self.transfer_motion,
        }

    def edit_networks(self) -> tuple[str, ...]:
        own = () if self.centre is None else ("centre",)
        return ("decoder", *own, "generator", "trunk", "generator_trunk")

    def check_side(self, images: Tensor) -> Tensor:
        """Return `images`.

        Raises:
            InputError: their side is not the `input_size` of the networks.
        """
        side, size = images.shape[-1], self.encoder.code_size
        if side != size:
            raise InputError(
                f"data.size: pictures of side {side} for networks of input_size {size}; "
                f"set --data.size {size}"
            )
        return images
