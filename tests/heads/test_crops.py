"""Crops against slices."""

from __future__ import annotations

import torch

from linear_probe.heads.crops import random_crops, ten_crops


def test_ten_crops_are_corners_middle_and_their_mirror_images() -> None:
    images = torch.rand(2, 3, 10, 10)
    found = ten_crops(images, 6)
    places = [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2)]
    expected = [images[..., y : y + 6, x : x + 6] for y, x in places]
    mirrored = images.flip(-1)
    expected += [mirrored[..., y : y + 6, x : x + 6] for y, x in places]
    assert torch.equal(found, torch.stack(expected))


def test_random_crops_are_slices_each_of_its_own() -> None:
    torch.manual_seed(0)
    one = torch.arange(3 * 8 * 8).view(1, 3, 8, 8)
    found = random_crops(one.expand(200, -1, -1, -1), 6)
    slices = {}
    for mirrored, picture in enumerate((one[0], one[0].flip(-1))):
        for y in range(3):
            for x in range(3):
                slices[tuple(picture[:, y : y + 6, x : x + 6].flatten().tolist())] = (
                    mirrored,
                    y,
                    x,
                )
    met = {slices[tuple(crop.flatten().tolist())] for crop in found}
    assert len(met) == 18


def test_without_room_only_mirroring_is_left() -> None:
    images = torch.rand(8, 3, 5, 5)
    for crop, image in zip(random_crops(images, 5), images, strict=True):
        assert torch.equal(crop, image) or torch.equal(crop, image.flip(-1))
