"""An ensemble whose members an exogenous variable, such as identity, weighs through a tree, and
whose own features are trained to be independent of it.

Arnaud, Dapogny, Bailly: THIN: THrowable Information Networks and Application for Facial Expression
Recognition In The Wild, 2020.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linear_probe.heads.crops import mirrored_and_moved
from linear_probe.heads.goals import Goal
from linear_probe.heads.head import FrozenFeatures, Head
from ssl_faces import FaceEncoder, InputError
from ssl_faces.common.ranges import (
    ImageSide,
    LayerCount,
    LayerWidth,
    NonNegativeFloat,
    WidthFactor,
    check_ranges,
)
from ssl_faces.losses.correlation import CrossCorrelationLoss
from ssl_faces.networks.backbone import BackboneEncoder, EncoderSettings, new_encoder

Gate = Literal["tree", "none"]
Dispelling = Literal["cosine", "correlation"]
MAX_DEPTH = 8


class CosineDispelling(nn.Module):
    """Mean |cosine| between the outputs of an exogenous network's last layers, which are frozen,
    for its own features and for the endogenous features of the same images: 0 if the latter hold
    nothing of the exogenous embedding, 1 if just that.

    The paper's loss as in its authors' public network
    (`facial_expression_recognition/model/thin.py` of github.com/estephe-arnaud/ademfa).
    """

    def forward(self, exogenous: Tensor, endogenous: Tensor) -> Tensor:
        """A scalar, float32, of embeddings [B, D] and [B, D]."""
        return F.cosine_similarity(exogenous.float(), endogenous.float()).abs().mean()


class TreeGate(nn.Module):
    """Leaf probabilities of a complete binary tree, whose inner nodes go left with the sigmoid of a
    linear function of the input as probability.

    A leaf's probability is the product of the choices on the way to it. Nodes are numbered level by
    level from the root, 0, leaves from left to right; node n has the children 2n + 1 and 2n + 2.

    Args:
        inputs: length of the input.
        depth: choices on the way to a leaf, 1 to `MAX_DEPTH`; there are 2^depth leaves.

    Raises:
        InputError: another depth.
    """

    def __init__(self, inputs: int, depth: int) -> None:
        super().__init__()
        if not 1 <= depth <= MAX_DEPTH:
            raise InputError(f"head.depth: {depth}; give 1 to {MAX_DEPTH}")
        self.depth, self.leaves = depth, 2**depth
        # Normalised as the authors' are: no choice starts out certain, or the same for all.
        self.nodes = nn.Sequential(
            nn.Linear(inputs, self.leaves - 1), nn.BatchNorm1d(self.leaves - 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, leaves], float32, of [B, inputs]."""
        left = torch.sigmoid(self.nodes(x).float())
        shares = left.new_ones(len(x), 1)
        for level in range(self.depth):
            here = left[:, 2**level - 1 : 2 ** (level + 1) - 1]
            shares = torch.stack((shares * here, shares * (1 - here)), 2).flatten(1)
        return shares


class Trunk(nn.Module):
    """A ResNet-18's pooled features; `width` is a factor on its channels."""

    def __init__(self, picture_size: int, width: float) -> None:
        super().__init__()
        self.network: BackboneEncoder = new_encoder(
            EncoderSettings("resnet18", picture_size, width)
        )
        self.dim = self.network.feature_dims["pooled"]

    def forward(self, images: Tensor) -> Tensor:
        """[B, dim] of RGB pictures float [B, 3, S, S] in [0, 1]."""
        return self.network(images, ("pooled",))["pooled"]


class ExogenousNetwork(Head):
    """Learns the exogenous variable in a stage before THIN, which takes it over; arguments as of
    `THIN`, without an encoder."""

    name = "exogenous_network"

    def __init__(
        self,
        goal: Goal,
        encoder: FaceEncoder | None = None,
        picture_size: ImageSide = 48,
        width: WidthFactor = 0.5,
        augment: bool = True,
    ) -> None:
        super().__init__(goal, None)
        check_ranges(type(self).__init__, locals(), "head")
        if encoder is not None:
            raise InputError(
                "before: ExogenousNetwork is a network of its own; leave `encoder` out, or leave "
                "out the stage: an encoder's code is exogenous without one"
            )
        self.picture_size, self.augment = picture_size, augment
        self.trunk = Trunk(picture_size, width)
        self.top = _top(self.trunk.dim)
        self.classifier = nn.Linear(self.trunk.dim, goal.outputs)

    def vary(self, images: Tensor) -> Tensor:
        return mirrored_and_moved(images) if self.augment else super().vary(images)

    def embed(self, images: Tensor) -> Tensor:
        return self.top(self.trunk(images))


class THIN(Head):
    """Throwable information networks.

    The exogenous representation is frozen. It routes each image through a soft tree to weak
    predictors. Their outputs (logits or values) on the endogenous representation are summed with
    the leaves' probabilities as weights. The dispelling loss removes exogenous information from the
    endogenous representation.

    With an encoder, one of its codes is exogenous, and another, through a trained layer,
    endogenous. Without one both are ResNets: the exogenous one was trained in a stage before, as an
    `ExogenousNetwork`, and the endogenous one starts from its weights, as the authors' do.

    Args:
        goal, encoder: see `Head`.
        exogenous, endogenous: with an encoder, which of its spaces.
        picture_size: side of the images; with an encoder that encoder's.
        width: without an encoder, of the ResNets.
        augment: mirror and shift training images at random.
        dim: with an encoder, length of the endogenous representation.
        depth: of the tree, with 2^depth weak predictors.
        hidden: units of a weak predictor's hidden layer.
        gate: `tree`; or `none`, the claim's baseline: the plain mean of as many weak predictors.
        dispelling: `cosine`, the authors' (`CosineDispelling`), which needs networks of its own, or
            `correlation` between both representations (`CrossCorrelationLoss`).
        dispelling_weight: of that loss; 0 leaves it out.

    Raises:
        InputError: settings that don't go together.
    """

    name = "thin"
    looked_at: ClassVar[int] = 256

    def __init__(
        self,
        goal: Goal,
        encoder: FaceEncoder | None = None,
        exogenous: str = "identity",
        endogenous: str = "expression",
        picture_size: ImageSide = 48,
        width: WidthFactor = 0.5,
        augment: bool = True,
        dim: LayerWidth = 128,
        depth: LayerCount = 3,
        hidden: LayerWidth = 16,
        gate: Gate = "tree",
        dispelling: Dispelling = "correlation",
        dispelling_weight: NonNegativeFloat = 1.0,
    ) -> None:
        super().__init__(goal, encoder)
        check_ranges(type(self).__init__, locals(), "head")
        self.augment, self.dispelling, self.dispelling_weight = (
            augment,
            dispelling,
            dispelling_weight,
        )
        self.exogenous: Trunk | FrozenFeatures
        self.endogenous: Trunk | FrozenFeatures
        self.layer: nn.Module = nn.Identity()
        if encoder is None:
            self.picture_size = picture_size
            # Lightning leaves each module in the mode that it is in: batch statistics stay, too.
            self.exogenous = Trunk(picture_size, width).requires_grad_(False).eval()
            self.top = _top(self.exogenous.dim).requires_grad_(False)
            self.endogenous = Trunk(picture_size, width)
            dim = self.endogenous.dim
        else:
            if dispelling == "cosine" and dispelling_weight:
                raise InputError(
                    "head.dispelling: cosine needs the last layers of an exogenous network, which "
                    "an encoder's code has not; give correlation"
                )
            self.picture_size = encoder.input_size
            self.space = f"{endogenous} by {exogenous}"
            self.exogenous = FrozenFeatures(encoder, exogenous)
            self.endogenous = FrozenFeatures(encoder, endogenous)
            self.layer = nn.Sequential(
                nn.Linear(self.endogenous.dim, dim), nn.BatchNorm1d(dim), nn.ReLU()
            )
        self.dim = dim
        # Whether the exogenous part was trained; a buffer, so that a resumed run knows it.
        self.informed: Tensor
        self.register_buffer("informed", torch.tensor(encoder is not None))
        tree = TreeGate(self.exogenous.dim, depth)
        self.leaves = tree.leaves
        self.gate = tree if gate == "tree" else None
        self.classifier = WeakPredictors(dim, hidden, goal.outputs, self.leaves)
        self.measure: nn.Module = (
            CosineDispelling() if dispelling == "cosine" else CrossCorrelationLoss()
        )

    def take_over(self, earlier: Head) -> None:
        if isinstance(earlier, THIN):
            super().take_over(earlier)
            return
        if not isinstance(earlier, ExogenousNetwork) or self.encoder is not None:
            raise InputError(
                f"before: THIN can't go on from a {earlier.name}; give ExogenousNetwork as the "
                "stage's head (or no stage, on an encoder)"
            )
        pairs: list[tuple[nn.Module, nn.Module]] = [
            (self.exogenous, earlier.trunk),
            (self.endogenous, earlier.trunk),
            (self.top, earlier.top),
        ]
        try:
            for own, learnt in pairs:
                own.load_state_dict(learnt.state_dict())
        except RuntimeError as error:
            raise InputError(
                "before: ExogenousNetwork has another `width` than THIN; give both the same"
            ) from error
        self.informed.fill_(True)

    def vary(self, images: Tensor) -> Tensor:
        return mirrored_and_moved(images) if self.augment else super().vary(images)

    def leaf_probabilities(self, images: Tensor) -> Tensor:
        """How much each weak predictor counts for each picture: float32 [B, leaves], sums of 1."""
        return self._shares(self.both(images)[0])

    def representation(self, images: Tensor) -> Tensor:
        """The endogenous representation [B, dim]."""
        return self.both(images)[1]

    def both(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The exogenous representation [B, E] and the endogenous one [B, dim]."""
        if isinstance(self.exogenous, FrozenFeatures) and self.encoder is not None:
            # Both codes of one look at the pictures.
            assert isinstance(self.endogenous, FrozenFeatures)
            spaces = (self.exogenous.space, self.endogenous.space)
            with torch.no_grad():
                codes = self.encoder(images, spaces)
            exogenous = self.exogenous.standardise(codes[spaces[0]].float())
            code = self.endogenous.standardise(codes[spaces[1]].float())
        else:
            with torch.no_grad():
                exogenous = self.exogenous(images)
            code = self.endogenous(images)
        return exogenous, self.layer(code)

    def embed(self, images: Tensor) -> Tensor:
        """The endogenous representation and the leaf probabilities: [B, dim + leaves]."""
        exogenous, endogenous = self.both(images)
        return torch.cat((endogenous, self._shares(exogenous)), 1)

    def classify(self, features: Tensor) -> Tensor:
        endogenous, shares = features.split((self.dim, self.leaves), 1)
        outputs = self.classifier(endogenous)
        return (shares[:, :, None] * outputs).sum(1)

    def losses(self, images: Tensor, labels: Tensor, balanced: bool = False) -> dict[str, Tensor]:
        if not self.informed:
            raise InputError(
                "before: THIN needs a stage that learns the exogenous variable; give one whose "
                "head is ExogenousNetwork, or an encoder"
            )
        exogenous, endogenous = self.both(images)
        outputs = self.classify(torch.cat((endogenous, self._shares(exogenous)), 1))
        terms = self.goal.losses(outputs, labels, balanced)
        if self.dispelling_weight:
            if self.dispelling == "cosine":
                exogenous, endogenous = self.top(exogenous), self.top(endogenous)
            terms["dispelling"] = self.dispelling_weight * self.measure(exogenous, endogenous)
        return terms

    def panels(self, images: Tensor) -> dict[str, Tensor]:
        """For each leaf the pictures that are most in it, eight at most; its mean probability
        stands beside them."""
        if self.gate is None:
            return {}
        shares = self.leaf_probabilities(images)
        count = min(8, len(images))
        return {
            f"leaf {leaf + 1}: {of_leaf.mean():.0%}": images[of_leaf.topk(count).indices]
            for leaf, of_leaf in enumerate(shares.T)
        }

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if isinstance(self.exogenous, Trunk):
            # It keeps the batch statistics of its training.
            self.exogenous.eval()
        return self

    def _shares(self, exogenous: Tensor) -> Tensor:
        if self.gate is None:
            return exogenous.new_full((len(exogenous), self.leaves), 1 / self.leaves)
        return self.gate(exogenous)


class WeakPredictors(nn.Module):
    """`count` networks of one hidden layer side by side, that share nothing: [B, count, outputs] of
    [B, inputs]."""

    def __init__(self, inputs: int, hidden: int, outputs: int, count: int) -> None:
        super().__init__()
        self.count = count
        self.first: Any = nn.Linear(inputs, count * hidden)
        # A convolution in groups of one place is a linear layer for each group.
        self.second: Any = nn.Conv1d(count * hidden, count * outputs, 1, groups=count)

    def forward(self, x: Tensor) -> Tensor:
        """[B, count, outputs] of [B, inputs]."""
        outputs: Tensor = self.second(torch.relu(self.first(x))[:, :, None])
        return outputs[:, :, 0].unflatten(1, (self.count, -1))


def _top(dim: int) -> nn.Sequential:
    """The last layers of an exogenous network, from features to its embedding."""
    return nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim))
