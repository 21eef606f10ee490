"""Attention over places, then over layers; categories are learnt first and help valence, arousal.

Wang, Peng, Pan, Hu, Jin, Ren: Two-level Attention with Two-stage Multi-task Learning for Facial
Emotion Recognition (2Att-2Mt), 2018.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, cast

import torch
from torch import Tensor, nn

from linear_probe.heads.crops import mirrored_and_moved, standardised
from linear_probe.heads.goals import Categories, Goal
from linear_probe.heads.head import Head, on_black
from linear_probe.heads.layer_maps import layer_maps
from ssl_faces import FaceEncoder, InputError
from ssl_faces.common.ranges import (
    ImageSide,
    LayerCount,
    LayerWidth,
    NonNegativeFloat,
    OpenUnit,
    UnitBelow1,
    WidthFactor,
    check_ranges,
)
from ssl_faces.losses.contrast import gathered
from ssl_faces.networks.backbone import EncoderSettings, new_encoder

ValueLoss = Literal["ccc", "mse"]


class ConcordanceLoss(nn.Module):
    """1 - CCC of values over the batch of all devices: 0 for perfect agreement, 1 for none, at most
    2.

    CCC is 2 cov / (var + var + (difference of means)²), Lin, Biometrics 45(1), 1989, with moments
    over n; `eps` in the denominator makes it 0 for constant values, of which torchmetrics' is NaN.
    """

    def __init__(self, eps: float = 1e-8) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, values: Tensor, true: Tensor) -> Tensor:
        """A scalar of float [n] and [n]."""
        both = gathered(torch.stack((values.float(), true.float()), 1))
        mean, mean_true = both.mean(0)
        centred = both - both.mean(0)
        covariance = centred.prod(1).mean()
        variances = centred.square().mean(0).sum()
        return 1 - 2 * covariance / (variances + (mean - mean_true) ** 2 + self.eps)


class AttentionPool(nn.Module):
    """Σ w_i x_i of vectors [B, n, D], with weights w = softmax(v · tanh(W x_i + b)) over i.

    Additive attention with a learnt query v (Yang et al., NAACL 2016, equations 5 to 7; Lin et al.,
    ICLR 2017, equations 5 and 6, with one row). Weights are equal at first, so that what learns
    before they do is the plain mean.

    Args:
        dim: D.
        hidden: length of v; None: no attention, the mean.
    """

    def __init__(self, dim: int, hidden: int | None) -> None:
        super().__init__()
        if hidden is not None:
            self.hidden = nn.Linear(dim, hidden)
            self.query = nn.Linear(hidden, 1, bias=False)
            nn.init.zeros_(self.query.weight)
        self.attention = hidden is not None

    def forward(self, x: Tensor) -> Tensor:
        """[B, D]."""
        return (self.weights(x)[:, :, None] * x).sum(1) if self.attention else x.mean(1)

    def weights(self, x: Tensor) -> Tensor:
        """[B, n], each row adds up to 1."""
        if not self.attention:
            return x.new_full(x.shape[:2], 1 / x.shape[1])
        return self.query(torch.tanh(self.hidden(x)))[:, :, 0].softmax(1)


class LayerVector(nn.Module):
    """The first level: the mean over the places of a layer's map [B, C, h, w] as a vector [B, dim],
    weighted by attention or not. Channels are standardised by running statistics, as layers
    differ in size."""

    def __init__(self, channels: int, dim: int, attention: bool) -> None:
        super().__init__()
        self.standardise = nn.BatchNorm2d(channels, affine=False)
        self.pool = AttentionPool(channels, dim if attention else None)
        self.project = nn.Sequential(nn.Linear(channels, dim), nn.LayerNorm(dim), nn.ReLU())

    def forward(self, layer: Tensor) -> Tensor:
        return self.project(self.pool(self._places(layer)))

    def weights(self, layer: Tensor) -> Tensor:
        """Of each place [B, h, w]; those of a picture add up to 1."""
        return self.pool.weights(self._places(layer)).unflatten(1, layer.shape[2:])

    def _places(self, layer: Tensor) -> Tensor:
        return self.standardise(layer).flatten(2).transpose(1, 2)


class TwoLevelAttention(Head):
    """2Att-2Mt.

    The maps of several layers of a CNN become a vector each (first level). A bi-directional GRU
    reads these vectors from the shallow layer to the deep one, and attention over its states gives
    one vector (second level). A category branch predicts the classes from it, a dimensional branch
    the values.

    With two stages, the first trains the classes alone; the second trains the values too, and the
    dimensional branch also sees the category representation. With one stage, both branches are
    trained from the first step and share only the network below.

    The goal decides which labels are classes or values: task `affect` has valence and arousal as
    values and, if the set has it, the expression as classes. A goal without values is trained in
    one stage by the category branch alone.

    The paper gives neither its loss of values nor the sizes of its layers.

    Args:
        goal, encoder: see `Head`; the encoder, frozen, gives the maps.
        picture_size, width: without an encoder, of a ResNet-18.
        layers: how many layers' maps, the last ones; of a ResNet at most 5, the stem among them.
        dim: length of all vectors.
        dropout: before the last layers.
        position_attention: over the places of each map; without, their mean.
        layer_attention: over the GRU's states; without, their mean.
        two_stages: see above.
        first_share: of the training that the first stage takes.
        category_weight: of the classes' loss beside the values'; 0, in one stage, is values alone.
        value_loss: `ccc`, 1 - concordance over the batch, or `mse`, the squared distance.

    Raises:
        InputError: an encoder without maps, sizes that don't fit, or two stages where there are
            values and no classes.
    """

    name = "two_level_attention"

    def __init__(
        self,
        goal: Goal,
        encoder: FaceEncoder | None = None,
        picture_size: ImageSide = 48,
        width: WidthFactor = 0.5,
        layers: LayerCount = 4,
        dim: LayerWidth = 128,
        dropout: UnitBelow1 = 0.1,
        position_attention: bool = True,
        layer_attention: bool = True,
        two_stages: bool = True,
        first_share: OpenUnit = 0.3,
        category_weight: NonNegativeFloat = 1.0,
        value_loss: ValueLoss = "ccc",
    ) -> None:
        super().__init__(goal, encoder)
        self.values = [name for name, size in goal.sizes.items() if size == 1]
        self.classes = {name: size for name, size in goal.sizes.items() if size > 1}
        check_ranges(type(self).__init__, locals(), "head")
        if dim % 2:
            raise InputError(f"head.dim: {dim}; give an even number, half for each direction")
        if self.values and two_stages and not (self.classes and category_weight):
            why = "head.category_weight is 0" if self.classes else "the data have no categories"
            raise InputError(
                f"head.two_stages: true, but {why}, so that there is nothing to learn first; give "
                "false"
            )
        self.layers, self.two_stages, self.first_share = layers, two_stages, first_share
        self.category_weight, self.value_loss = category_weight, value_loss
        if encoder is None:
            self.picture_size = picture_size
            self.trunk = new_encoder(EncoderSettings("resnet18", picture_size, width))
        else:
            self.picture_size, self.space = encoder.input_size, f"maps of {layers} layers"
        self.layer_vectors = nn.ModuleList(
            LayerVector(layer.shape[1], dim, position_attention)
            for layer in on_black(self, self.maps)
        )
        self.recurrent = nn.GRU(dim, dim // 2, batch_first=True, bidirectional=True)
        self.over_layers = AttentionPool(dim, dim if layer_attention else None)
        branches, last = nn.ModuleDict(), nn.ModuleDict()
        if self.classes:
            branches["category"] = nn.Sequential(nn.Linear(dim, dim), nn.ReLU())
            last["category"] = nn.Linear(dim, sum(self.classes.values()))
        if self.values:
            seen = 2 * dim if two_stages else dim
            branches["dimensional"] = nn.Sequential(nn.Linear(seen, dim), nn.ReLU())
            last["dimensional"] = nn.Linear(dim, len(self.values))
        self.branches, self.classifier = branches, last
        self.dropout = nn.Dropout(dropout)
        self.concordance = ConcordanceLoss()
        self.first_stage = bool(self.values) and two_stages

    def begin_step(self, done: float) -> None:
        self.first_stage = bool(self.values) and self.two_stages and done < self.first_share

    def vary(self, images: Tensor) -> Tensor:
        return mirrored_and_moved(images)

    def maps(self, images: Tensor) -> list[Tensor]:
        """The map [B, C, h, w] of each layer, shallow ones first, of pictures in [0, 1]."""
        if self.encoder is None:
            return layer_maps(self.trunk, standardised(255 * images), self.layers)
        return layer_maps(self.encoder, self.encoder.normalise(images), self.layers)

    def states(self, maps: list[Tensor]) -> Tensor:
        """The GRU's states [B, layers, dim], both directions side by side."""
        vectors = [of(layer) for of, layer in zip(self.layer_vectors, maps, strict=True)]
        return self.recurrent(torch.stack(vectors, 1))[0]

    def attention(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Weights of the places of each layer's map, [B, h, w] each, and of the layers
        [B, layers]."""
        maps = self.maps(images)
        of_layers = cast(Iterable[LayerVector], self.layer_vectors)
        places = [of.weights(layer) for of, layer in zip(of_layers, maps, strict=True)]
        return places, self.over_layers.weights(self.states(maps))

    def embed(self, images: Tensor) -> Tensor:
        """The category and the dimensional representation side by side, [B, dim] each, of those
        that the goal has."""
        shared = self.over_layers(self.states(self.maps(images)))
        parts = []
        if self.classes:
            parts.append(self.branches["category"](shared))
        if self.values:
            seen = torch.cat((shared, *parts), 1) if self.two_stages else shared
            parts.append(self.branches["dimensional"](seen))
        return torch.cat(parts, 1)

    def classify(self, features: Tensor) -> Tensor:
        parts = self.dropout(features).chunk(len(self.classifier), 1)
        outputs: dict[str, Tensor] = {}
        for (branch, last), part in zip(self.classifier.items(), parts, strict=True):
            of = self.classes if branch == "category" else dict.fromkeys(self.values, 1)
            outputs |= zip(of, last(part).split([*of.values()], 1), strict=True)
        return torch.cat([outputs[name] for name in self.goal.sizes], 1)

    def losses(self, images: Tensor, labels: Tensor, balanced: bool = False) -> dict[str, Tensor]:
        outputs = self(images)
        losses = self.goal.losses(outputs, labels, balanced)
        if isinstance(self.goal, Categories):
            return losses
        parts = self.goal.parts(outputs)
        for (name, part), known in zip(parts.items(), labels.unbind(1), strict=True):
            if name in self.classes:
                weight = self.category_weight if self.values else 1.0
                # A batch may have no label of it.
                term = losses.get(name, 0 * part.float().sum())
            else:
                weight = 0.0 if self.first_stage else 1.0
                mse = self.value_loss == "mse"
                term = losses[name] if mse else self.concordance(part[:, 0], known)
            # Times 0, not left out: DDP expects each weight in each step.
            losses[name] = weight * term
        return losses
