"""TCAE: warp a frame into another by a flow for facial actions and a flow for head pose.

Li, Zeng, Shan, Chen: Self-supervised Representation Learning from Videos for Facial Action Unit
Detection, CVPR 2019 (Twin-Cycle Autoencoder).
"""

from __future__ import annotations

from typing import NamedTuple

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
    """Images and flows for b sources and targets; by kind where only action or pose changes."""

    flows: dict[str, Tensor]  # [b, 2, 16, 16]
    merged: Tensor  # [b, 2, 16, 16]
    changed: dict[str, Tensor]  # the source with only the target's action or pose
    both: Tensor  # the source with both
    back: dict[str, Tensor]  # `changed`, warped back to the source


class TCAE(ViewsMethod):
    """TCAE.

    The feature spaces `action` and `pose`, linear layers on the encoder's representation, are the
    paper's two embeddings (with a few more convolutions there). For each, a decoder predicts a flow
    and a weight map from the codes of source and target; the flows are averaged by the softmax of
    the maps at each position. The first images of the pairs are sources, the second ones targets.
    Terms:

    - pixel: L1 distance between the source warped by the averaged flow and the target
    - cycle: the source warped by one flow, then back by that decoder's flow to the source's code:
      L1 distance to the source, for each kind; no gradient into the warped image
    - code: codes of warped images must equal the target's where they were changed, otherwise the
      source's: mean squared error divided by the variance of the wanted codes
    - action flow: mean absolute action flow, as actions are small and local

    Weights and details that the paper does not mention follow the authors' code.

    Differences: the code term is divided by the variance and has a small weight (1 in the paper).
    With 1, and with 0.01, 275 steps on a few clips made all codes of a person equal before a flow
    was learnt. The decoders are FaceCycle's, with 16x16 flows. Warps use border padding. A fold
    term of all flows is added: with mirror images as pairs, training otherwise finds flows that
    mirror every face, and the codes stay empty. There is no curriculum.

    Args:
        encoder: the encoder to train.
        optimizer: its optimiser.
        code_dim: length of each embedding.
        decoder_width: channels of each decoder's last layer.
        pixel_weight, cycle_weight, code_weight, action_flow_weight, fold_weight: of the loss
            terms.
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
        super().__init__(locals(), dict.fromkeys(KINDS, code_dim))
        self.fold = FoldLoss()
        self.action_decoder = MotionDecoder(decoder_width, 2 * code_dim, outputs=3)
        self.pose_decoder = MotionDecoder(decoder_width, 2 * code_dim, outputs=3)

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        source, target = x.chunk(2)
        source_codes, target_codes = self._codes(x, 2)
        cycle, changed_codes = self.cycle(source, source_codes, target_codes)
        code = x.new_zeros(())
        for changed in ("both", *KINDS):
            for kind in KINDS:
                wanted = target_codes if changed in ("both", kind) else source_codes
                code = code + _relative_error(changed_codes[changed][kind], wanted[kind])
        terms = {
            "pixel": F.l1_loss(cycle.both, target),
            "cycle": F.l1_loss(cycle.back["action"], source)
            + F.l1_loss(cycle.back["pose"], source),
            "code": code,
            "action flow": cycle.flows["action"].abs().mean(),
            "fold": self.fold(torch.cat((*cycle.flows.values(), cycle.merged))),
        }
        return self.weighted(terms)

    def cycle(
        self, source: Tensor, source_codes: Codes, target_codes: Codes
    ) -> tuple[TwinCycle, dict[str, Codes]]:
        """Warps of sources [b, 3, S, S] towards targets with these codes, and the codes of the
        warped images, by `action`, `pose` and `both`."""
        flows, logits = {}, []
        for kind in KINDS:
            flows[kind], logit = self._flow(kind, source_codes, target_codes)
            logits.append(logit)
        share = torch.cat(logits, 1).softmax(1)
        merged = share[:, :1] * flows["action"] + share[:, 1:] * flows["pose"]
        changed = {kind: warp(source, flows[kind], padding="border") for kind in KINDS}
        both = warp(source, merged, padding="border")
        parts = self._codes(torch.cat((*changed.values(), both)), 3)
        codes = dict(zip((*KINDS, "both"), parts, strict=True))
        back = {}
        for kind in KINDS:
            flow, _ = self._flow(kind, codes[kind], source_codes)
            back[kind] = warp(changed[kind].detach(), flow, padding="border")
        return TwinCycle(flows, merged, changed, both, back), codes

    def _codes(self, x: Tensor, parts: int) -> list[Codes]:
        """The codes of each of `parts` equal parts of x, encoded in one batch."""
        codes = self.encoder.codes_of(self.represent(x))
        chunks = zip(*(codes[kind].chunk(parts) for kind in KINDS), strict=True)
        return [dict(zip(KINDS, chunk, strict=True)) for chunk in chunks]

    def _flow(self, kind: str, source: Codes, target: Codes) -> tuple[Tensor, Tensor]:
        """The flow [b, 2, 16, 16] from source to target, and its weight's logits [b, 1, 16, 16]."""
        decoder = self.action_decoder if kind == "action" else self.pose_decoder
        with self.reduced_precision():
            output = decoder(torch.cat((source[kind], target[kind]), 1))
        return output[:, :2], output[:, 2:]

    def shown(self, x: Tensor) -> dict[str, Tensor]:
        source, target = x.chunk(2)
        cycle, _ = self.cycle(source, *self._codes(x, 2))
        return {
            "source": source,
            "target": target,
            "warped by both": cycle.both,
            **{f"{kind} alone": cycle.changed[kind] for kind in KINDS},
            **{f"back from {kind}": cycle.back[kind] for kind in KINDS},
            **{f"{kind} flow": cycle.flows[kind] for kind in KINDS},
            "merged flow": cycle.merged,
        }


def _relative_error(codes: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared error of codes [b, D], divided by the variance of the wanted ones."""
    variance = wanted.var(0, unbiased=False).mean()
    return F.mse_loss(codes, wanted) / variance.clamp_min(1e-8)
