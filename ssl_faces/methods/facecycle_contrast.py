"""The hybrid: FaceCycle's cycles and contrast in one encoder, with codes kept independent.

A method of this project. From FaceCycle (Chang et al., ICCV 2021) come both cycles, without the
large generators: the expression code's flow warps a face to its neutral one and the inverse flow
brings it back; a small decoder renders the neutral face from the identity code alone, and the
inverse flow makes it expressive again. From SimCLR (Chen et al., ICML 2020) comes the contrastive
loss, once for each code with different invariances: the identity code is equal for both images of a
pair and for mirror images; the expression code is equal for strong views of one image, never for
two images of a person, and mirrored with the image. Both codes together must predict the image's
histograms of oriented gradients, the target of MaskFeat (Wei et al., CVPR 2022): contrast alone
only keeps what distinguishes images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from lightly.models.modules import SimCLRProjectionHead
from torch import Tensor, nn

from ssl_faces.common.ranges import LayerWidth, NonNegativeFloat, PositiveFloat, UnitAbove0
from ssl_faces.losses.correlation import CrossCorrelationLoss
from ssl_faces.losses.fold import FoldLoss
from ssl_faces.losses.hog import HOG
from ssl_faces.losses.objectives import Objective, PairObjective
from ssl_faces.losses.own_negatives import OwnNegativesLoss
from ssl_faces.losses.ssim import SSIMLoss
from ssl_faces.losses.symmetry import SymmetryLoss
from ssl_faces.methods.encoder_method import EncoderMethod
from ssl_faces.methods.method import FRONTAL, MOTION, NEUTRAL, SWAP, Edit
from ssl_faces.methods.optimizer import ADAMW, OptimizerSettings
from ssl_faces.networks.backbone import RESNET18, CodesFrom, EncoderSettings
from ssl_faces.networks.image_decoder import ImageDecoder
from ssl_faces.networks.motion_decoder import MotionDecoder
from ssl_faces.networks.warp import inverse_flow, warp
from ssl_faces.pairs.augment import PRESETS, PairAugmentation


class Faces(NamedTuple):
    """Results of the cycles for 2m images [2m, 3, S, S], in the order of `views`."""

    flow: Tensor  # [2m, 2, 16, 16]
    direct: Tensor  # the image warped by the flow
    neutral: Tensor  # rendered from the identity code alone
    back: Tensor  # the other image's direct warp, warped by this one's inverse flow
    remade: Tensor  # the other image's neutral face, warped by this one's inverse flow


class FaceCycleContrast(EncoderMethod):
    """Learns an expression code and an identity code by cycles, contrast and independence.

    Batches: `pairs`, float [b, 2, 3, S, S] in [0, 1], with mild common augmentation
    (`data.augmentation: frames`; strong views are made here); `mirrored`, bool [b]: whether the
    second image is the first one's mirror image, not another image of the person; and perhaps
    `people`, int64 [b]: a number that pairs of one person share, or -1.

    Pairs of one person are never each other's negatives for the identity code. The expression code
    of a pair of two images is compared with that of a second strong view of the first one.

    Args:
        encoder: the encoder to train; it gets the codes `expression` and `identity`.
        optimizer: its optimiser.
        code_dim: length of each code; mirroring an image flips the signs of the second half of its
            expression code.
        projection_dim: length of the contrastive embeddings.
        temperature: of the softmax over cosines.
        objective: what makes identity codes equal, see `PairObjective`.
        partner_negatives: whether the expression code of another image of the person is one more
            negative for the first image's. No effect on mirror images.
        crop_low: smallest share of the area in strong views.
        cycle_share: share of the pairs for the cycles, which cost more than contrast.
        mirrored_cycles: whether the cycles replace other images of the person by mirror images:
            cycles need two images in the same light.
        cycle_weight, identity_weight, expression_weight, independence_weight, descriptor_weight: of
            the terms: the cycles' pixel and SSIM losses; contrast of identity codes; contrast of
            expression codes; squared correlation between the codes; squared error of the oriented
            gradients that a linear layer predicts from both. 0 turns a term off.
        symmetry_weight, fold_weight: of the cycles' `SymmetryLoss` and `FoldLoss`.
        codes_from: input of the codes (see `BackboneEncoder`).
        decoder_width: channels of the decoders' last layers.

    Raises:
        InputError: no such encoder, or a share or weight out of range.
    """

    name = "facecycle_contrast"
    least_pairs = 2

    def __init__(
        self,
        encoder: EncoderSettings = RESNET18,
        optimizer: OptimizerSettings = ADAMW,
        code_dim: LayerWidth = 256,
        projection_dim: LayerWidth = 128,
        temperature: PositiveFloat = 0.1,
        crop_low: UnitAbove0 = 0.6,
        cycle_share: UnitAbove0 = 0.125,
        cycle_weight: NonNegativeFloat = 1.0,
        identity_weight: NonNegativeFloat = 1.5,
        expression_weight: NonNegativeFloat = 0.3,
        independence_weight: NonNegativeFloat = 1.0,
        symmetry_weight: NonNegativeFloat = 0.5,
        fold_weight: NonNegativeFloat = 10.0,
        descriptor_weight: NonNegativeFloat = 400.0,
        codes_from: CodesFrom = "map",
        decoder_width: LayerWidth = 16,
        objective: Objective = "contrast",
        partner_negatives: bool = False,
        mirrored_cycles: bool = False,
    ) -> None:
        super().__init__(locals(), {"expression": code_dim, "identity": code_dim})
        self.weights = {
            "cycle": cycle_weight,
            "identity": identity_weight,
            "expression": expression_weight,
            "independence": independence_weight,
            "symmetry": cycle_weight * symmetry_weight,
            "fold": cycle_weight * fold_weight,
            "descriptor": descriptor_weight,
        }
        self.cycle_share = cycle_share
        self.identity_projector = SimCLRProjectionHead(code_dim, 2 * code_dim, projection_dim)
        self.expression_projector = SimCLRProjectionHead(code_dim, 2 * code_dim, projection_dim)
        self.motion = MotionDecoder(decoder_width, code_dim)
        self.face = ImageDecoder(code_dim, encoder.input_size, decoder_width)
        self.objective = PairObjective(objective, temperature)
        self.contrast = OwnNegativesLoss(temperature, other_faces=True)
        self.partner_negatives, self.mirrored_cycles = partner_negatives, mirrored_cycles
        self.dependence = CrossCorrelationLoss()
        self.ssim, self.symmetry, self.fold = SSIMLoss(), SymmetryLoss(), FoldLoss()
        self.hog = HOG()
        self.descriptor = nn.Linear(2 * code_dim, self.hog.length(encoder.input_size))
        # Mirroring is drawn in `terms`, where it must be known.
        strong = replace(PRESETS["views"], flip_share=0.0, crop_scale=(crop_low, 1.0))
        self.strong = PairAugmentation(encoder.input_size, strong)
        even = torch.arange(code_dim) < (code_dim + 1) // 2
        self.register_buffer("even", even, persistent=False)
        self.even: Tensor

    def codes(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Expression and identity codes, float32 [B, code_dim], of images in [0, 1]."""
        x = self.encoder.normalise(images).contiguous(memory_format=torch.channels_last)
        with self.reduced_precision():
            features = self.encoder.features(x, ("expression", "identity"))
        return features["expression"].float(), features["identity"].float()

    def mirror(self, expression: Tensor, mirrored: Tensor) -> Tensor:
        """Expression codes [B, D], mirrored where `mirrored`, bool [B]."""
        return torch.where(mirrored[:, None] & ~self.even, -expression, expression)

    def terms(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """The loss terms before their weights."""
        pairs, mirrored = self.checked(batch), batch["mirrored"]
        count = len(pairs)
        views, flips = self.draw_views(pairs)
        cycled = self._cycled(pairs, mirrored)
        # Another image of the person has another expression, so it is no positive for that.
        others = ~mirrored & bool(self.weights["expression"])
        again, flips_again = self.draw_views(pairs[others][:, [0, 0]])
        # One encoder pass for all images.
        seen = (views.transpose(0, 1).flatten(0, 1), cycled, again[:, 0])
        expression, identity = self.codes(torch.cat(seen))
        sizes = [len(images) for images in seen]
        of_views, of_cycled, of_again = expression.split(sizes)
        identity_of_views, identity_of_cycled, _ = identity.split(sizes)
        terms = {}
        if self.weights["identity"]:
            first, second = self.identity_projector(identity_of_views).chunk(2)
            terms["identity"] = self.objective(first, second, batch.get("people"))
        if self.weights["expression"]:
            turned = torch.cat((flips[:, 0], flips[:, 1] ^ mirrored, flips_again[:, 0]))
            codes = self.mirror(torch.cat((of_views, of_again)), turned)
            projected = self.expression_projector(codes)
            first, partner, own = projected.split((count, count, len(again)))
            second = partner.index_put((others,), own)
            negatives = partner[:, None] if self.partner_negatives else None
            terms["expression"] = self.contrast(first, second, negatives, valid=others[:, None])
        if self.weights["independence"]:
            terms["independence"] = self.dependence(of_views, identity_of_views)
        if self.weights["descriptor"]:
            predicted = self.descriptor(torch.cat((of_views, identity_of_views), 1))
            target = self.hog(views.transpose(0, 1).flatten(0, 1))
            terms["descriptor"] = F.mse_loss(predicted, target)
        if len(cycled):
            faces = self.cycle(cycled, of_cycled, identity_of_cycled)
            ssim = self.ssim(torch.stack((faces.back, faces.remade)), cycled)
            pixel = F.l1_loss(faces.back, cycled) + F.l1_loss(faces.remade, cycled)
            terms["cycle"] = pixel + ssim.sum()
            terms["symmetry"] = self.symmetry(faces.neutral) + self.symmetry(faces.direct)
            terms["fold"] = self.fold(faces.flow)
        return terms

    def draw_views(self, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """Strong views [b, 2, 3, S, S] of pairs, and bool [b, 2] which of them are mirrored."""
        if not len(pairs):  # no random numbers
            return pairs, torch.zeros(0, 2, dtype=torch.bool, device=pairs.device)
        views = self.strong(pairs)
        flips = (torch.rand(len(pairs), 2) < 0.5).to(pairs.device)
        return torch.where(flips[..., None, None, None], views.flip(-1), views), flips

    def _cycled(self, pairs: Tensor, mirrored: Tensor) -> Tensor:
        """The images [2m, 3, S, S] for the cycles, in the order of `views`."""
        share = self.cycle_share * len(pairs)
        count = max(1, round(share)) if self.weights["cycle"] else 0
        first, second = pairs[:count].unbind(1)
        if self.mirrored_cycles:
            second = torch.where(mirrored[:count, None, None, None], second, first.flip(-1))
        return torch.cat((first, second))

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Their weighted sum."""
        return super().total({name: self.weights[name] * term for name, term in terms.items()})

    def neutral_of(self, identity: Tensor) -> Tensor:
        """The neutral faces [B, 3, S, S] in [0, 1] of identity codes."""
        return torch.sigmoid(self.face(identity))

    def cycle(self, x: Tensor, expression: Tensor, identity: Tensor) -> Faces:
        """Both cycles for images [2m, 3, S, S] in [0, 1] and their codes."""
        half = len(x) // 2
        with self.reduced_precision():
            flow = self.motion(expression)
            neutral = self.neutral_of(identity)
        inverse = inverse_flow(flow)
        direct = warp(x, flow, clamp=True)
        back = warp(direct.roll(half, 0), inverse, clamp=True)
        remade = warp(neutral.roll(half, 0), inverse, clamp=True)
        return Faces(flow, direct, neutral, back, remade)

    def neutral_face(self, images: Tensor, seed: int = 0) -> Tensor:
        """The same people neutral and frontal: float [B, 3, S, S] in [0, 1], in and out."""
        with self.editing(seed):
            return self.neutral_of(self.codes(images)[1])

    def flow_of(self, images: Tensor) -> Tensor:
        with self.editing():
            return self.motion(self.codes(images)[0])

    def identity_swap(self, images: Tensor, others: Tensor, seed: int = 0) -> Tensor:
        """The faces of `images` as the people of `others`, float [B, 3, S, S] in [0, 1]."""
        with self.editing(seed):
            inverse = inverse_flow(self.motion(self.codes(images)[0]))
            return warp(self.neutral_of(self.codes(others)[1]), inverse, clamp=True)

    def edits(self) -> dict[str, Edit]:
        # The neutral face has the other person's light too, so a swap is a motion transfer.
        return {
            NEUTRAL: self.neutral_face,
            FRONTAL: self.neutral_face,
            SWAP: self.identity_swap,
            MOTION: self.identity_swap,
        }

    def edit_networks(self) -> tuple[str, ...]:
        return ("motion", "face")

    def panels(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        with self.editing(), torch.autocast(self.device.type, enabled=False):
            x = self.checked(batch).transpose(0, 1).flatten(0, 1)
            faces = self.cycle(x, *self.codes(x))
        return {
            "source": x,
            "neutral": faces.neutral,
            "direct warp": faces.direct,
            "warped back": faces.back,
            "remade": faces.remade,
            "flow": faces.flow,
        }
