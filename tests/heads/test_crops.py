"""Crops, mirror images and shifts against slices."""

import torch

from linear_probe.heads.crops import (
    SHIFT,
    mirrored_and_moved,
    random_crops,
    standardised,
    ten_crops,
)


def test_ten_crops_are_corners_middle_and_their_mirror_images():
    images = torch.rand(2, 3, 10, 10)
    found = ten_crops(images, 6)
    places = [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2)]
    expected = [images[..., y : y + 6, x : x + 6] for y, x in places]
    mirrored = images.flip(-1)
    expected += [mirrored[..., y : y + 6, x : x + 6] for y, x in places]
    assert torch.equal(found, torch.stack(expected))


def test_random_crops_are_slices_each_of_its_own():
    torch.manual_seed(0)
    one = torch.arange(3 * 8 * 8).view(1, 3, 8, 8)
    found = random_crops(one.expand(200, -1, -1, -1), 6)
    slices = {
        tuple(image[:, y : y + 6, x : x + 6].flatten().tolist())
        for image in (one[0], one[0].flip(-1))
        for y in range(3)
        for x in range(3)
    }
    assert {tuple(crop.flatten().tolist()) for crop in found} == slices


def test_moved_images_are_the_originals_mirrored_or_shifted():
    size = 12
    images = torch.randint(0, 256, (40, 3, size, size), dtype=torch.uint8)
    torch.manual_seed(1)
    moved = (mirrored_and_moved(images) * 255).round().byte()
    padded = torch.nn.functional.pad(images.float(), (SHIFT,) * 4, mode="replicate").byte()
    ways = set()
    for image, wide in zip(moved, padded, strict=True):
        fits = [
            (down, right, mirrored)
            for down in range(2 * SHIFT + 1)
            for right in range(2 * SHIFT + 1)
            for mirrored in (False, True)
            if torch.equal(cut := wide[:, down : down + size, right : right + size], image)
            or (mirrored and torch.equal(cut.flip(-1), image))
        ]
        assert fits
        ways.add(fits[0])
    assert {way[2] for way in ways} == {False, True}
    assert len({way[:2] for way in ways}) > 10


def test_standardised_images_hardly_depend_on_exposure_and_contrast():
    image = torch.randint(60, 180, (1, 3, 16, 16), dtype=torch.uint8)
    assert (standardised(image) - standardised(image // 2)).abs().max() < 0.3
    assert standardised(image).mean().abs() < 1e-4
