"""MTCNN (Zhang et al. 2016) in torch.

`mtcnn.safetensors` has the weights of the PyPI package `mtcnn` 1.0.0 (MIT licence, Copyright (c)
2019-2024 Iván de Paz Centeno), whose code needs TensorFlow and reads pickles. The cascade is the
paper's: a small network on an image pyramid proposes boxes, two larger networks refine them, and
the last one also predicts five landmarks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.ops import nms, roi_align

from ssl_faces.prepare.faces import Faces

_WEIGHTS = Path(__file__).with_name("mtcnn.safetensors")
_CELL = 12  # side that the first network sees
_STRIDE = 2
_STEP = 0.709  # of the pyramid: half the area a level
_THRESHOLDS = (0.6, 0.7, 0.8)
_BATCH = 256


class MTCNN:
    """The cascade, for faces of at least `smallest` pixels a side."""

    def __init__(self, smallest: float) -> None:
        self.smallest = max(float(smallest), _CELL)
        self._propose = Proposer()
        self._refine = Refiner([28, 48, 64], [3, 3, 2], 128, [4, 2])
        self._output = Refiner([32, 64, 64, 128], [3, 3, 3, 2], 256, [4, 10, 2])
        weights = load_file(_WEIGHTS)
        for name in ("propose", "refine", "output"):
            network: nn.Module = getattr(self, f"_{name}")
            network.load_state_dict(
                {k.partition(".")[2]: v for k, v in weights.items() if k.startswith(name)}
            )
            network.eval()

    @torch.inference_mode()
    def __call__(self, picture: np.ndarray) -> Faces:
        if min(picture.shape[:2]) < _CELL:
            return Faces.none()
        pixels = _normalised(picture)
        boxes = self._proposals(Image.fromarray(picture))
        boxes, scores, _ = self._refined(self._refine, pixels, boxes, 24, _THRESHOLDS[1])
        kept = nms(boxes, scores, 0.7)
        boxes = _square(boxes[kept])
        boxes, scores, points = self._refined(self._output, pixels, boxes, 48, _THRESHOLDS[2])
        kept = _nms_of_smaller(boxes, scores, 0.7)
        return Faces(boxes[kept].numpy(), scores[kept].numpy(), points[kept].numpy())

    def _proposals(self, picture: Image.Image) -> Tensor:
        """Boxes [N, 4] of all levels of the pyramid."""
        width, height = picture.size
        scale = _CELL / self.smallest
        boxes, scores = [torch.zeros(0, 4)], [torch.zeros(0)]
        while min(height, width) * scale >= _CELL:
            size = (int(width * scale + 1), int(height * scale + 1))
            # Area averaging, as in the paper's training; Pillow is much faster than torch.
            level = picture.resize(size, Image.Resampling.BOX)
            offsets, probabilities = self._propose(_normalised(np.asarray(level)))
            faces = probabilities[0, 1]
            row, column = torch.nonzero(faces > _THRESHOLDS[0], as_tuple=True)
            score = faces[row, column]
            corner = torch.stack((column, row), 1) * _STRIDE
            cell = torch.cat((corner, corner + _CELL), 1).float()
            kept = nms(cell, score, 0.5)
            boxes.append((cell + _CELL * offsets[0, :, row, column].T)[kept] / scale)
            scores.append(score[kept])
            scale *= _STEP
        merged = torch.cat(boxes)
        return _square(merged[nms(merged, torch.cat(scores), 0.7)])

    def _refined(
        self, network: nn.Module, pixels: Tensor, boxes: Tensor, side: int, threshold: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Refine boxes [N, 4]; those that pass as [K, 4], scores [K], and landmarks [K, 5, 2]."""
        outputs = []
        for piece in boxes.split(_BATCH):
            # Outside the image, patches are 0: mid grey.
            patches = roi_align(pixels, [piece], side, aligned=True)
            outputs.append(network(patches))
        if not outputs:
            return boxes, torch.zeros(0), torch.zeros(0, 5, 2)
        offsets, *points, scores = (torch.cat(part) for part in zip(*outputs, strict=True))
        passed = scores[:, 1] > threshold
        boxes, scores = boxes[passed], scores[passed, 1]
        size = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
        landmarks = torch.zeros(len(boxes), 5, 2)
        if points:
            # Five x, then five y.
            share = points[0][passed].reshape(-1, 2, 5).transpose(1, 2)
            landmarks = boxes[:, None, :2] + share * size[:, None, :2]
        return boxes + offsets[passed] * size, scores, landmarks


class Proposer(nn.Module):
    """The first network (P-Net), on images [B, 3, H, W] in [-1, 1].

    Returns offsets [B, 4, h, w] in cell sides, and probabilities [B, 2, h, w] of no face and face.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 10, 3),
            nn.PReLU(10),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.Conv2d(10, 16, 3),
            nn.PReLU(16),
            nn.Conv2d(16, 32, 3),
            nn.PReLU(32),
        )
        self.heads = nn.ModuleList([nn.Conv2d(32, 4, 1), nn.Conv2d(32, 2, 1)])

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        shared = self.layers(pixels)
        return self.heads[0](shared), self.heads[1](shared).softmax(1)


class Refiner(nn.Module):
    """The second and the third network (R-Net, O-Net), on patches [B, 3, S, S] in [-1, 1].

    Returns the outputs of the heads, the last one as probabilities of no face and face.

    Args:
        widths, kernels: of the convolutions, with pooling between them.
        hidden: width of the dense layer.
        heads: numbers of outputs.
    """

    def __init__(
        self, widths: Sequence[int], kernels: Sequence[int], hidden: int, heads: Sequence[int]
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for i, (width, kernel) in enumerate(zip(widths, kernels, strict=True)):
            layers += [nn.Conv2d(before, width, kernel), nn.PReLU(width)]
            if i < 2:
                layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
            elif i < len(widths) - 1:
                layers.append(nn.MaxPool2d(2, 2, ceil_mode=True))
            before = width
        self.layers = nn.Sequential(*layers)
        self.dense = nn.Sequential(nn.Linear(before * 9, hidden), nn.PReLU(hidden))
        self.heads = nn.ModuleList(nn.Linear(hidden, count) for count in heads)

    def forward(self, patches: Tensor) -> tuple[Tensor, ...]:
        # The weights are for [B, W, H, C], the order of Matlab.
        flat = self.layers(patches).permute(0, 3, 2, 1).flatten(1)
        *outputs, scores = (head(self.dense(flat)) for head in self.heads)
        return (*outputs, scores.softmax(1))


def _normalised(picture: np.ndarray) -> Tensor:
    """uint8 [H, W, 3] to float [1, 3, H, W] in [-1, 1]."""
    pixels = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None]
    return (pixels.float() - 127.5) / 128


def _square(boxes: Tensor) -> Tensor:
    """Squares with the centres and longer sides of boxes."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).amax(1, keepdim=True) / 2
    return torch.cat((centre - half, centre + half), 1)


def _nms_of_smaller(boxes: Tensor, scores: Tensor, most: float) -> list[int]:
    """Non-maximum suppression by overlap divided by the smaller area; kept rows, best first."""
    kept: list[int] = []
    area = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1)
    for row in scores.argsort(descending=True, stable=True).tolist():
        others = boxes[kept]
        low = torch.maximum(others[:, :2], boxes[row, :2])
        high = torch.minimum(others[:, 2:], boxes[row, 2:])
        shared = (high - low).clamp(min=0).prod(1)
        if bool((shared <= most * torch.minimum(area[kept], area[row])).all()):
            kept.append(row)
    return kept
