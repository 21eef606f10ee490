"""TCAE: a frame is warped into another by a flow of facial actions and a flow of the head's pose.

Li, Zeng, Shan, Chen: Self-supervised Representation Learning from Videos for Facial Action Unit
Detection, CVPR 2019 (Twin-Cycle Autoencoder).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_faces.common.ranges import LayerWidth, NonNegativeFloat
from ssl_faces.losses.fold import FoldLoss
from ssl_faces.methods.encoder_method import ViewsMethod
from ssl_faces.methods.optimizer import ADAMW, OptimizerSettings
from ssl_faces.networks.backbone import RESNET18, EncoderSettings
from ssl_faces.networks.motion_decoder import MotionDecoder
from ssl_faces.networks.warp import warp

KINDS = ("action", "pose")
Codes = dict[str, Tensor]


class TwinCycle(NamedTuple):
    """Everything rendered for b sources and targets; by kind where only one of both is changed."""

    flows: dict[str, Tensor]  # [b, 2, 16, 16]
    merged: Tensor  # [b, 2, 16, 16]
    changed: dict[str, Tensor]  # the source with the target's action, or pose, alone
    both: Tensor  # the source with both
    back: dict[str, Tensor]  # `changed`, made the source again


class TCAE(ViewsMethod):
    """TCAE.

    The encoder's spaces `action` and `pose`, linear layers on its representation, are the paper's
    two embeddings (which have a few convolutions of their own there). For each a decoder takes the
    source's and the target's and gives a flow and a map of its weight; at each position the flows
    are averaged by the soft-max of these. First pictures of the pairs are sources, second ones are
    targets. Terms:

    - pixel: L1 between the source warped by the average and the target
    - cycle: the source changed by one flow alone, then back by that decoder's flow to the source's
      code: L1 against the source, for either kind; no gradient into the picture that is warped
    - code: of pictures that were changed in one or both, each code is to be the target's where it
      was changed, else the source's: mean squared error over the wanted codes' variance
    - action flow: mean absolute action flow, as actions are small and local

    Weights, and all that is not in the paper's text, from the authors' code. Ours: the code term is
    divided by the variance and has little weight (theirs is 1), as with theirs, and with 0.01, 275
    steps on a few clips made all codes of a person alike before a flow was learnt; the decoders are
    FaceCycle's (flows of 16x16 positions); outside the picture there is its border; and the fold
    term, of all three flows: where pairs are mirror images, flows that mirror all faces alike are
    else found soon, and the codes need say nothing. Left out: the curriculum of ever harder pairs.

    Args:
        encoder: which encoder.
        optimizer: how it is trained.
        code_dim: length of each of both embeddings.
        decoder_width: channels of each decoder's last layer.
        pixel_weight, cycle_weight, code_weight, action_flow_weight, fold_weight: of the terms.
    """

    name = "tcae"

    def __init__(
        self,
        encoder: EncoderSettings = RESNET18,
        optimizer: OptimizerSettings = ADAMW,
        code_dim: LayerWidth = 256,
        decoder_width: LayerWidth = 32,
        pixel_weight: NonNegativeFloat = 10.0,
        cycle_weight: NonNegativeFloat = 1.0,
        code_weight: NonNegativeFloat = 0.001,
        action_flow_weight: NonNegativeFloat = 0.1,
        fold_weight: NonNegativeFloat = 100.0,
    ) -> None:
        super().__init__(
            *(encoder, optimizer),
            codes=dict.fromkeys(KINDS, code_dim),
            code_dim=code_dim,
            decoder_width=decoder_width,
            pixel_weight=pixel_weight,
            cycle_weight=cycle_weight,
            code_weight=code_weight,
            action_flow_weight=action_flow_weight,
            fold_weight=fold_weight,
        )
        self.fold = FoldLoss()
        self.weights = {
            "pixel": pixel_weight,
            "cycle": cycle_weight,
            "code": code_weight,
            "action flow": action_flow_weight,
            "fold": fold_weight,
        }
        self.action_decoder = MotionDecoder(decoder_width, 2 * code_dim, outputs=3)
        self.pose_decoder = MotionDecoder(decoder_width, 2 * code_dim, outputs=3)

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        source, target = x.chunk(2)
        source_codes, target_codes = self._codes(x, 2)
        cycle, changed_codes = self.cycle(source, source_codes, target_codes)
        code = _relative_error(changed_codes["both"]["action"], target_codes["action"])
        code = code + _relative_error(changed_codes["both"]["pose"], target_codes["pose"])
        for changed in KINDS:
            for kind in KINDS:
                wanted = target_codes if kind == changed else source_codes
                code = code + _relative_error(changed_codes[changed][kind], wanted[kind])
        terms = {
            "pixel": F.l1_loss(cycle.both, target),
            "cycle": F.l1_loss(cycle.back["action"], source)
            + F.l1_loss(cycle.back["pose"], source),
            "code": code,
            "action flow": cycle.flows["action"].abs().mean(),
            "fold": self.fold(torch.cat((*cycle.flows.values(), cycle.merged))),
        }
        return {name: self.weights[name] * value for name, value in terms.items()}

    def cycle(
        self, source: Tensor, source_codes: Codes, target_codes: Codes
    ) -> tuple[TwinCycle, dict[str, Codes]]:
        """What becomes of sources [b, 3, S, S] towards targets of these codes, and the codes of
        `both`, and of the pictures where `action` or `pose` alone was changed."""
        flows, logits = {}, []
        for kind in KINDS:
            flows[kind], logit = self._flow(kind, source_codes, target_codes)
            logits.append(logit)
        share = torch.cat(logits, 1).softmax(1)
        merged = share[:, :1] * flows["action"] + share[:, 1:] * flows["pose"]
        changed = {kind: warp(source, flows[kind], padding="border") for kind in KINDS}
        both = warp(source, merged, padding="border")
        found = self._codes(torch.cat((*changed.values(), both)), 3)
        codes = dict(zip((*KINDS, "both"), found, strict=True))
        back = {}
        for kind in KINDS:
            flow, _ = self._flow(kind, codes[kind], source_codes)
            back[kind] = warp(changed[kind].detach(), flow, padding="border")
        return TwinCycle(flows, merged, changed, both, back), codes

    def _codes(self, x: Tensor, parts: int) -> list[Codes]:
        """The codes of equal parts of x, encoded together."""
        codes = self.encoder.codes_of(self.represent(x))
        chunks = zip(*(codes[kind].chunk(parts) for kind in KINDS), strict=True)
        return [dict(zip(KINDS, chunk, strict=True)) for chunk in chunks]

    def _flow(self, kind: str, source: Codes, target: Codes) -> tuple[Tensor, Tensor]:
        """The flow [b, 2, 16, 16] from one code to another, and its map's logits [b, 1, 16, 16]."""
        decoder = self.action_decoder if kind == "action" else self.pose_decoder
        with self.reduced_precision():
            found = decoder(torch.cat((source[kind], target[kind]), 1))
        return found[:, :2], found[:, 2:]

    def panels(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Pictures [b, 3, S, S] in [0, 1] to look at, by name; flows are [b, 2, 16, 16]."""
        with self.editing(), torch.autocast(self.device.type, enabled=False):
            x = self.views(batch)
            source, target = x.chunk(2)
            cycle, _ = self.cycle(source, *self._codes(x, 2))
            show = self.encoder.denormalise
            return {
                "source": show(source),
                "target": show(target),
                "warped by both": show(cycle.both),
                "action alone": show(cycle.changed["action"]),
                "pose alone": show(cycle.changed["pose"]),
                "back from action": show(cycle.back["action"]),
                "back from pose": show(cycle.back["pose"]),
                "action flow": cycle.flows["action"],
                "pose flow": cycle.flows["pose"],
                "merged flow": cycle.merged,
            }


def _relative_error(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared error of codes [b, D], as a share of the wanted ones' variance."""
    variance = wanted.var(0, unbiased=False).mean()
    return F.mse_loss(found, wanted) / variance.clamp_min(1e-8)
