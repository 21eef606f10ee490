"""Augmentation: mild, in range, alike for both frames where it must be, repeatable."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.functional import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
)

from ssl_faces.common.errors import InputError
from ssl_faces.pairs.augment import PRESETS, Augmentation, PairAugmentation, colour_maps, grids

SIZE = 32


def plain(**kwargs):
    """Crop and flip only, bar what is asked for."""
    return strengths(**{"jitter": 0.0, "hue": 0.0, "jitter_share": 0.0, **kwargs})


def strengths(**kwargs):
    return PairAugmentation(SIZE, Augmentation(**kwargs))


def twice(pictures):
    """Pairs of a picture and itself: [b, 3, S, S] to [b, 2, 3, S, S]."""
    return pictures[:, None].expand(-1, 2, -1, -1, -1).contiguous()


def ramps(count):
    """Red rises from left to right and green from top to bottom, 0 to 1; blue is 0.5."""
    line = torch.linspace(0, 1, SIZE)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack((x, y, torch.full_like(x, 0.5))).expand(count, -1, -1, -1)


def flipped(frames):
    """Whether red falls from left to right."""
    return frames[..., 0, :, : SIZE // 2].mean((-2, -1)) > frames[..., 0, :, SIZE // 2 :].mean(
        (-2, -1)
    )


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_shape_type_and_range(dtype):
    torch.manual_seed(0)
    pairs = torch.rand(8, 2, 3, SIZE, SIZE)
    pairs[:2], pairs[2:4] = 0, 1
    if dtype == torch.uint8:
        pairs = (255 * pairs).to(torch.uint8)
    augmented = PairAugmentation(SIZE)(pairs)
    assert augmented.shape == pairs.shape
    assert augmented.dtype == torch.float32
    assert augmented.min() >= 0
    assert augmented.max() <= 1
    assert augmented[4:].std() > 0.1


def test_strong_jitter_stays_in_range():
    torch.manual_seed(0)
    augmented = plain(jitter=0.9, hue=0.4, jitter_share=1.0)(torch.rand(16, 2, 3, SIZE, SIZE))
    assert augmented.min() >= 0
    assert augmented.max() <= 1


def test_bytes_and_their_fractions_are_augmented_alike():
    pairs = torch.randint(0, 256, (4, 2, 3, SIZE, SIZE), dtype=torch.uint8)
    augmentation, results = PairAugmentation(SIZE), []
    for given in (pairs, pairs.float() / 255):
        torch.manual_seed(3)
        results.append(augmentation(given))
    torch.testing.assert_close(*results)


def test_the_seed_decides():
    pairs, augmentation = torch.rand(8, 2, 3, SIZE, SIZE), PairAugmentation(SIZE)
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(augmentation(pairs))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)
    assert (results[0] - results[2]).abs().max() > 0.05


def test_no_gradient_is_kept():
    assert not PairAugmentation(SIZE)(
        torch.rand(1, 2, 3, SIZE, SIZE).requires_grad_()
    ).requires_grad


def test_both_frames_are_flipped_alike_half_of_the_time():
    torch.manual_seed(0)
    frames = flipped(plain()(twice(ramps(400))))
    assert torch.equal(frames[:, 0], frames[:, 1])
    # 400 draws of one half: 50 is five standard deviations.
    assert abs(int(frames[:, 0].sum()) - 200) < 50


def test_the_crop_is_near_the_whole_picture():
    """A side is cut by 5 % at most, so no point moves by more than that (and half a pixel)."""
    torch.manual_seed(0)
    augmented = plain()(twice(ramps(200)))
    upright = torch.where(flipped(augmented)[..., None, None, None], augmented.flip(-1), augmented)
    moved = (upright - ramps(200)[:, None]).abs()
    assert moved[:, :, :2].max() <= 0.05 + 0.5 / (SIZE - 1)
    assert moved[:, :, 2].max() < 1e-5, "no border shows"
    assert moved[:, :, :2].amax((2, 3, 4)).max() > 0.02, "some picture does move"


def test_the_crop_is_drawn_once_a_picture():
    torch.manual_seed(0)
    augmented = plain()(twice(ramps(100)))
    apart = (augmented[:, 0] - augmented[:, 1]).abs().amax((1, 2, 3))
    assert (apart > 1e-3).float().mean() > 0.5


def test_a_crop_of_one_leaves_the_picture():
    torch.manual_seed(0)
    pairs = twice(ramps(20))
    augmented = plain(crop_scale=(1.0, 1.0), crop_ratio=(1.0, 1.0))(pairs)
    upright = torch.where(flipped(augmented)[..., None, None, None], augmented.flip(-1), augmented)
    torch.testing.assert_close(upright, pairs, rtol=0, atol=1e-4)


def flat(*rgb, count=200):
    return torch.tensor(rgb).view(1, 3, 1, 1).expand(count, 3, SIZE, SIZE)


def test_the_jitter_is_drawn_once_a_pair():
    torch.manual_seed(0)
    augmented = strengths(jitter_share=1.0)(twice(flat(0.5, 0.4, 0.3)))
    torch.testing.assert_close(augmented[:, 0], augmented[:, 1], rtol=0, atol=1e-5)
    colours = augmented[:, 0].mean((-2, -1))
    assert colours.std(0).min() > 1e-3, "another one for each pair"


def test_the_jitter_is_mild():
    """Brightness, contrast and saturation by 5 % each and hue by 1 % of the circle."""
    torch.manual_seed(0)
    colour = torch.tensor([0.5, 0.4, 0.3])
    augmented = strengths(jitter_share=1.0)(twice(flat(0.5, 0.4, 0.3)))
    moved = (augmented.mean((-2, -1)) - colour).abs()
    assert moved.max() < 0.08
    assert moved.max() > 0.01


def test_the_jitter_meets_its_share_of_the_pairs():
    torch.manual_seed(0)
    augmented = strengths(jitter_share=0.8)(twice(flat(0.5, 0.4, 0.3, count=400)))
    colour = torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1)
    changed = (augmented[:, 0] - colour).abs().amax((1, 2, 3)) > 1e-4
    # 400 draws of 0.8: 40 is five standard deviations.
    assert abs(int(changed.sum()) - 320) <= 40


# Against torchvision, a picture at a time --------------------------------------------------------


def test_crops_and_flips_are_those_of_the_boxes():
    """Each output pixel by bilinear interpolation of the four around its place in the box."""
    torch.manual_seed(0)
    picture = torch.rand(3, 5, 5)
    boxes = torch.tensor([[0.1, 0.0, 0.8, 1.0], [0.3, 0.2, 0.5, 0.6]])
    for mirrored in (False, True):
        grid = grids(boxes, torch.tensor([mirrored] * 2), 5)
        found = F.grid_sample(
            picture.expand(2, 3, 5, 5), grid, padding_mode="border", align_corners=False
        )
        for (left, top, width, height), crop in zip(boxes.tolist(), found, strict=True):
            for row in range(5):
                for column in range(5):
                    at = 4 - column if mirrored else column
                    x = min(max(5 * left + (at + 0.5) * width - 0.5, 0), 4)
                    y = min(max(5 * top + (row + 0.5) * height - 0.5, 0), 4)
                    expected = torch.zeros(3)
                    for j in range(5):
                        for i in range(5):
                            near = max(0, 1 - abs(x - i)) * max(0, 1 - abs(y - j))
                            expected += near * picture[:, j, i]
                    torch.testing.assert_close(crop[:, row, column], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_brightness_contrast_and_saturation_are_torchvisions(order):
    torch.manual_seed(0)
    pictures = 0.3 + 0.4 * torch.rand(6, 3, 9, 7)  # far from where torchvision clamps
    factors = torch.cat((0.8 + 0.4 * torch.rand(6, 3), torch.zeros(6, 1)), 1)
    colours, shift = colour_maps(factors, [*order, 3], pictures.mean((-2, -1)))
    found = torch.einsum("nij,njhw->nihw", colours, pictures) + shift[..., None, None]
    steps = [adjust_brightness, adjust_contrast, adjust_saturation]
    for picture, row, ours in zip(pictures, factors.tolist(), found, strict=True):
        for kind in order:
            picture = steps[kind](picture, row[kind])
        torch.testing.assert_close(ours, picture, rtol=0, atol=1e-3)


def test_the_hue_turns_as_torchvisions_does():
    """By up to 1 % of the circle, on colours of faces: within one level of 255 in the mean."""
    torch.manual_seed(0)
    skin = torch.tensor([0.75, 0.55, 0.45]).view(1, 3, 1, 1)
    pictures = (skin + 0.1 * (torch.rand(8, 3, 6, 6) - 0.5)).clamp(0, 1)
    shares = torch.linspace(-0.01, 0.01, 8)
    factors = torch.cat((torch.ones(8, 3), 2 * torch.pi * shares[:, None]), 1)
    colours, shift = colour_maps(factors, [3, 0, 1, 2], pictures.mean((-2, -1)))
    assert not shift.any()
    found = torch.einsum("nij,njhw->nihw", colours, pictures)
    expected = torch.stack(
        [adjust_hue(p, s) for p, s in zip(pictures, shares.tolist(), strict=True)]
    )
    assert (found - expected).abs().mean() < 1 / 255
    # HSV turns the middle one of the three channels only; the way is much the same.
    ours, theirs = (found - pictures).flatten(), (expected - pictures).flatten()
    assert F.cosine_similarity(ours, theirs, dim=0) > 0.7


def test_boxes_are_torchvisions():
    """Means and spreads of sides and places, of 4,000 draws each."""
    torch.manual_seed(0)
    ours = PairAugmentation(64).draw_boxes(4000)
    picture = torch.zeros(3, 1000, 1000)  # so large that whole pixels don't matter
    theirs = []
    for _ in range(4000):
        top, left, height, width = RandomResizedCrop.get_params(picture, [0.95, 1.05], [0.95, 1.05])
        theirs.append([left, top, width, height])
    expected = torch.tensor(theirs) / 1000
    assert (ours >= 0).all()
    assert (ours[:, :2] + ours[:, 2:] <= 1 + 1e-6).all()
    torch.testing.assert_close(ours.mean(0), expected.mean(0), rtol=0, atol=1.5e-3)
    torch.testing.assert_close(ours.std(0), expected.std(0), rtol=0, atol=1.5e-3)


# Views: each picture by itself -------------------------------------------------------------------


def views(**kwargs):
    """The strong preset, with some settings changed."""
    return PairAugmentation(SIZE, replace(PRESETS["views"], **kwargs))


def test_views_are_drawn_for_each_picture_by_itself():
    """Colour, grey, flip and crop of one picture of a pair say nothing of the other's."""
    torch.manual_seed(0)
    still = {"crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0), "jitter_share": 0.0}
    turned = flipped(views(**still, grey_share=0.0)(twice(ramps(400))))
    both = (turned[:, 0] == turned[:, 1]).sum()
    assert abs(int(both) - 200) < 50  # five standard deviations of 400 draws of one half
    coloured = views(flip_share=0.0, grey_share=0.0, jitter_share=1.0)
    colours = coloured(twice(flat(0.5, 0.4, 0.3))).mean((-2, -1))
    apart = (colours[:, 0] - colours[:, 1]).abs().amax(1)
    assert (apart > 0.02).float().mean() > 0.9
    together = torch.corrcoef(torch.stack((colours[:, 0, 0], colours[:, 1, 0])))[0, 1]
    assert abs(together) < 0.65  # five standard deviations of 200 pairs


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_grey_meets_its_share_of_the_pictures(share):
    torch.manual_seed(0)
    found = views(grey_share=share, jitter_share=0.0)(twice(flat(0.7, 0.4, 0.2)))
    grey = found.amax(2) - found.amin(2) < 1e-5
    assert (grey.flatten(2).all(2) == grey.flatten(2).any(2)).all(), "all of a picture or nothing"
    counts = int(grey[:, :, 0, 0].sum())
    assert abs(counts - 400 * share) <= 5 * (400 * share * (1 - share)) ** 0.5
    if share:
        # As luminance weighs the colours (BT.601).
        level = found[grey[:, None].transpose(1, 2).expand_as(found)].mean()
        torch.testing.assert_close(
            level, torch.tensor(0.299 * 0.7 + 0.587 * 0.4 + 0.114 * 0.2), rtol=0, atol=1e-4
        )


def test_pairs_that_are_alike_are_grey_alike():
    torch.manual_seed(0)
    found = strengths(grey_share=0.5)(twice(flat(0.7, 0.4, 0.2)))
    grey = (found.amax(2) - found.amin(2)).amax((-2, -1)) < 1e-5
    assert torch.equal(grey[:, 0], grey[:, 1])
    assert 60 < int(grey[:, 0].sum()) < 140


def test_the_flip_meets_its_share_of_the_pictures():
    torch.manual_seed(0)
    turned = flipped(views(flip_share=0.3, grey_share=0.0, jitter_share=0.0)(twice(ramps(400))))
    assert abs(int(turned.sum()) - 240) < 5 * (800 * 0.3 * 0.7) ** 0.5


def test_crops_of_views_are_within_their_range():
    torch.manual_seed(0)
    boxes = views().draw_boxes(2000)
    area, ratio = boxes[:, 2] * boxes[:, 3], boxes[:, 2] / boxes[:, 3]
    assert 0.6 <= area.min() < 0.65
    assert 0.9 < area.max() <= 1
    whole = area > 1 - 1e-6
    assert (ratio[~whole] >= 3 / 4 - 1e-6).all()
    assert (ratio[~whole] <= 4 / 3 + 1e-6).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= 1 + 1e-6).all()
    # On ramps, which run from 0 to 1, what is seen is the crop.
    found = views(jitter_share=0.0, grey_share=0.0)(twice(ramps(400)))[:, :, :2]
    seen = found.amax((-2, -1)) - found.amin((-2, -1))
    assert (seen.prod(2) > 0.6 * 0.9).all()
    assert (seen.prod(2) < 0.7).float().mean() > 0.1


@pytest.mark.parametrize(
    ("strength", "expected"),
    [
        ({"crop_scale": (0.5, 0.3)}, "crop_scale: 0.5 to 0.3; give the smaller number first"),
        ({"crop_ratio": (0.0, 1.0)}, "crop_ratio: 0; give a number above 0"),
        ({"hue": 0.6}, "hue: 0.6; give a number from 0 to 0.5"),
    ],
)
def test_strengths_that_can_not_be(strength, expected):
    with pytest.raises(InputError) as caught:
        Augmentation(**strength)
    assert str(caught.value).startswith(f"data.augmentation.{expected}")
    assert "\n" not in str(caught.value)
