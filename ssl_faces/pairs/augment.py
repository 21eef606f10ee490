"""Augmentation of pairs, on the batch: one resampling and one linear map of colours.

kornia's crop, jitter and flip of the same pairs take several times as long, most of it for the
conversion to HSV and back: at the strengths used here every part of the
jitter is a linear map of the colours, and the maps of a picture multiply to one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import PlainValidator
from torch import Tensor, nn

from ssl_faces.common.arguments import number
from ssl_faces.common.ranges import PositiveFloat, UnitFloat, check_fields, check_order

_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601, as torchvision's
_ATTEMPTS = 10  # at a crop that lies in the picture, as torchvision's


@dataclass(frozen=True)
class Augmentation:
    """How pairs are augmented. Defaults: FaceCycle (ICCV 2021), authors' code.

    Attributes:
        crop_scale: smallest and largest share of the area that a crop takes.
        crop_ratio: smallest and largest ratio of its width to its height.
        jitter: strength in brightness, contrast and saturation.
        hue: strength in hue, as a share of the full turn.
        jitter_share: probability of the jitter.
        grey_share: probability that a picture loses its colour.
        flip_share: probability that a picture is mirrored.
        alike: draw jitter, grey and flip once a pair, so that both frames stay two views of one
            recording; else for each image. Crops are always drawn for each image.
        mirror_augmented: a partner that is a mirror image is that of the augmented first image;
            else it is augmented like any other partner.
    """

    crop_scale: tuple[PositiveFloat, PositiveFloat] = (0.95, 1.05)
    crop_ratio: tuple[PositiveFloat, PositiveFloat] = (0.95, 1.05)
    jitter: UnitFloat = 0.05
    hue: Annotated[float, PlainValidator(number(0, 0.5))] = 0.01
    jitter_share: UnitFloat = 0.8
    grey_share: UnitFloat = 0.0
    flip_share: UnitFloat = 0.5
    alike: bool = True
    mirror_augmented: bool = False

    def __post_init__(self) -> None:
        check_fields(self, "data.augmentation")
        check_order(self, ("crop_scale", "crop_ratio"), "data.augmentation")

    def __str__(self) -> str:
        low, high = self.crop_scale
        parts = [
            f"crop of {low:g}-{high:g} of the area",
            f"jitter {self.jitter:g}, hue {self.hue:g} in {self.jitter_share:g}",
            f"grey in {self.grey_share:g}" if self.grey_share else "",
            f"flip in {self.flip_share:g}" if self.flip_share else "",
            "alike for both of a pair" if self.alike else "each picture by itself",
            "mirror images of the augmented image" if self.mirror_augmented else "",
        ]
        return ", ".join(filter(None, parts))


Preset = Literal["frames", "facecycle", "views"]

PRESETS: dict[Preset, Augmentation] = {
    # Two frames of one recording, at FaceCycle's strengths.
    "frames": Augmentation(),
    # As the authors of FaceCycle do it.
    "facecycle": Augmentation(alike=False, mirror_augmented=True),
    # Two views of one picture (SimCLR, Chen et al. 2020, as lightly has it for small pictures:
    # no blur), with crops that keep most of the face: probes see whole faces, in their place.
    "views": Augmentation(
        crop_scale=(0.6, 1.0),
        crop_ratio=(3 / 4, 4 / 3),
        jitter=0.4,
        hue=0.1,
        grey_share=0.2,
        alike=False,
    ),
}


class PairAugmentation(nn.Module):
    """Random crop, colour jitter, greying and horizontal flip of pairs, see `Augmentation`.

    Crop and jitter are torchvision's `RandomResizedCrop` and `ColorJitter`, but for sides of crops
    that are no whole pixels, hues that turn about the grey axis instead of in HSV, and colours that
    are clamped once, at the end. Draws are made on the CPU, so that every device has the same.

    Args:
        size: side of the pictures.
        settings: of what strength.
    """

    def __init__(self, size: int, settings: Augmentation = PRESETS["frames"]) -> None:
        super().__init__()
        self.size = size
        self.settings = settings

    @torch.no_grad()
    def forward(self, pairs: Tensor, mirrored: Tensor | None = None) -> Tensor:
        """uint8 or float [0, 1] pairs [b, 2, 3, S, S] to float in [0, 1] of the same shape.

        Args:
            pairs: a third image of each gets the first one's crop; only if all are drawn `alike`.
            mirrored: bool [b], whether the second image is the first one's mirror image; None: no.
        """
        if pairs.dtype == torch.uint8:
            pairs = pairs.float() / 255
        count, images = pairs.shape[:2]
        pictures = pairs.flatten(0, 1)
        # Draws for each, and how many pictures share one.
        each, draws = (images, count) if self.settings.alike else (1, images * count)
        boxes = self.draw_boxes(2 * count)
        if images > 2:
            boxes = boxes.view(count, 2, 4)[:, [0, 1, 0]].flatten(0, 1)
        flipped = (torch.rand(draws) < self.settings.flip_share).repeat_interleave(each)
        grid = grids(boxes.to(pairs), flipped.to(pairs.device), self.size)
        # Box edges lie up to half a pixel outside the outermost pixels' centres.
        pictures = F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
        factors, order = self.draw_jitter(draws)
        colours, shift = colour_maps(
            factors.repeat_interleave(each, 0).to(pairs.device, pairs.dtype),
            order,
            pictures.mean((-2, -1)),
        )
        if self.settings.grey_share:
            greyed = (torch.rand(draws) < self.settings.grey_share).repeat_interleave(each)
            grey = torch.tensor(_GREY, device=pairs.device, dtype=pairs.dtype).expand(3, 3)
            map_to = torch.where(
                greyed.to(pairs.device)[:, None, None], grey, torch.eye(3).to(grey)
            )
            colours, shift = map_to @ colours, (map_to @ shift[..., None])[..., 0]
        jittered = torch.baddbmm(shift[..., None], colours, pictures.flatten(2))
        augmented = jittered.clamp_(0, 1).view(count, images, 3, self.size, self.size)
        if self.settings.mirror_augmented and mirrored is not None:
            augmented[mirrored, 1] = augmented[mirrored, 0].flip(-1)
        return augmented

    def draw_boxes(self, count: int) -> Tensor:
        """[count, 4] left, top, width and height of crops, as shares of the side."""
        low, high = self.settings.crop_scale
        scale = low + (high - low) * torch.rand(count, _ATTEMPTS)
        low, high = self.settings.crop_ratio
        ratio = torch.exp(math.log(low) + math.log(high / low) * torch.rand(count, _ATTEMPTS))
        sides = torch.stack(((scale * ratio).sqrt(), (scale / ratio).sqrt()), -1)
        inside = (sides <= 1).all(-1)
        first = inside.byte().argmax(1)
        # Where no attempt lies inside, the whole picture.
        chosen = torch.where(
            inside.any(1)[:, None], sides[torch.arange(count), first], torch.ones(())
        )
        return torch.cat((torch.rand(count, 2) * (1 - chosen), chosen), 1)

    def draw_jitter(self, count: int) -> tuple[Tensor, list[int]]:
        """[count, 4] factors of brightness, contrast and saturation, and the turn of the hue in
        radians; and the order in which the batch gets them."""
        jitter = self.settings.jitter * (2 * torch.rand(count, 3) - 1)
        hue = 2 * math.pi * self.settings.hue * (2 * torch.rand(count, 1) - 1)
        taken = torch.rand(count, 1) < self.settings.jitter_share
        factors = torch.cat((1 + jitter * taken, hue * taken), 1)
        return factors, torch.randperm(4).tolist()


def grids(boxes: Tensor, mirrored: Tensor, size: int) -> Tensor:
    """Boxes [n, 4] as grids [n, size, size, 2] for `grid_sample` with `align_corners=False`; those
    mirrored run from right to left."""
    centres = (2 * torch.arange(size, device=boxes.device) + 1) / size - 1
    left, top, width, height = boxes[..., None].unbind(1)
    across = torch.where(mirrored[:, None], -width, width)
    x = 2 * left + width - 1 + across * centres
    y = 2 * top + height - 1 + height * centres
    shape = (-1, size, size)
    return torch.stack((x[:, None].expand(shape), y[:, :, None].expand(shape)), -1)


def colour_maps(factors: Tensor, order: list[int], mean: Tensor) -> tuple[Tensor, Tensor]:
    """The jitter of n pictures as one map each: matrices [n, 3, 3] and shifts [n, 3].

    Args:
        factors: [n, 4], see `draw_jitter`.
        order: which of the four comes first, second, third and last.
        mean: [n, 3], the pictures' mean colours; contrast changes about the mean's grey.
    """
    one = torch.eye(3, device=factors.device, dtype=factors.dtype)
    grey = torch.tensor(_GREY, device=factors.device, dtype=factors.dtype).expand(3, 3)
    brightness, contrast, saturation, hue = factors[..., None, None].unbind(1)
    # A turn about the grey axis (Rodrigues).
    cross = torch.tensor(
        [[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=factors.device, dtype=factors.dtype
    ) / math.sqrt(3)
    maps = [
        brightness * one,
        contrast * one,
        saturation * one + (1 - saturation) * grey,
        hue.cos() * one + hue.sin() * cross + (1 - hue.cos()) / 3,
    ]
    colours = one.expand(len(factors), 3, 3)
    shift = torch.zeros_like(mean)[..., None]
    mean = mean[..., None]
    for kind in order:
        added = (1 - contrast) * (grey @ mean) if kind == 1 else torch.zeros_like(shift)
        colours, shift = maps[kind] @ colours, maps[kind] @ shift + added
        mean = maps[kind] @ mean + added
    return colours, shift[..., 0]
