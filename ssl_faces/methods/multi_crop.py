"""Base class of methods that also embed small local crops of the images (multi-crop).

Caron et al.: Unsupervised Learning of Visual Features by Contrasting Cluster Assignments (SwAV),
NeurIPS 2020.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ssl_faces.common.ranges import check_increasing
from ssl_faces.methods.joint_embedding import JointEmbedding
from ssl_faces.pairs.augment import PRESETS, PairAugmentation


class MultiCrop(JointEmbedding):
    """The images of a pair are the two global crops. Local crops are cut from them, each with a
    different colour jitter. `last_layers` are frozen at first.

    A subclass has the settings

    - `local_crops`: number of local crops of each of the two images
    - `local_size`: their side in pixels; encoders of a fixed input size get enlarged crops
    - `local_scale`: smallest and largest share of the image's area in a crop
    - `frozen_share`, if it has `last_layers`: share of the run in which these are frozen
    - `warmup_temperature`, `teacher_temperature`, `warmup_share`: see `teacher_temperature`

    Raises:
        InputError: the smallest share is larger than the largest.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        super().__init__(arguments)
        size, scale = arguments["local_size"], arguments["local_scale"]
        check_increasing(scale, "model.local_scale")
        side = size if self.encoder.takes(size) else self.encoder.input_size
        self.local = PairAugmentation(side, replace(PRESETS["views"], crop_scale=scale))
        self.local_crops: int = arguments["local_crops"]

    def represent_crops(self, x: Tensor) -> Tensor:
        """Representations [2b · (1 + local_crops), D] of the images x and their local crops."""
        crops = [self.represent(x)]
        if self.local_crops:
            crops.append(self.represent(self.cut(x)))
        return torch.cat(crops)

    def cut(self, x: Tensor) -> Tensor:
        """Normalised local crops [2b · local_crops, 3, s, s] of normalised images [2b, …]: crop by
        crop, each in the order of `views`."""
        pairs = self.encoder.denormalise(x).unflatten(0, (2, -1)).transpose(0, 1)
        crops = [self.local(pairs).transpose(0, 1).flatten(0, 1) for _ in range(self.local_crops)]
        local = self.encoder.normalise(torch.cat(crops))
        return local.contiguous(memory_format=torch.channels_last)

    @property
    def teacher_temperature(self) -> float:
        """Of the teacher's softmax: in `warmup_share` of the run it goes linearly from
        `warmup_temperature` to `teacher_temperature`."""
        start, end = self.hparams["warmup_temperature"], self.hparams["teacher_temperature"]
        steps = max(1.0, self.hparams["warmup_share"] * self.steps)
        return float(start + (end - start) * min(1.0, self.trainer.global_step / steps))

    def last_layers(self) -> Iterable[nn.Module]:
        """The layers that are frozen at first."""
        return ()

    def on_after_backward(self) -> None:
        if self.trainer.global_step < self.hparams.get("frozen_share", 0.0) * self.steps:
            for layer in self.last_layers():
                layer.zero_grad()
