"""Pixels, HOG and LBP, and degraded images, against loops and closed forms."""

import io
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.feature import local_binary_pattern

from linear_probe.features.frozen import FeatureCache, Features, Pictures
from linear_probe.sources.baselines import BASELINES, HogSource, LbpSource, PixelSource
from linear_probe.sources.changed_images import ChangedFaces
from linear_probe.sources.robustness import DEGRADATIONS, degradations
from linear_probe.tasks import Expression, Identity
from linear_probe.tasks.task import rows_of
from ssl_faces.data import FaceRecord, FaceSet
from ssl_faces.data.sets.discover import find_face_sets


def grey(levels):
    """Pictures [N, 3, S, S] of grey levels 0 to 255 [N, S, S]."""
    return torch.from_numpy(levels)[:, None].expand(-1, 3, -1, -1).float() / 255


def features(source, images):
    (found,) = source(images).values()
    return found


@pytest.fixture
def levels():
    return np.random.default_rng(0).integers(0, 256, (3, 33, 33)).astype(np.uint8)


@pytest.mark.parametrize("kind", BASELINES)
@pytest.mark.parametrize("size", [32, 33, 48])
def test_lengths_are_those_told(kind, size):
    source = kind(size)
    (space, found), *others = source(torch.rand(2, 3, size, size)).items()
    assert not others
    assert source.dims == {space: found.shape[1]}
    assert found.dtype == torch.float32
    assert source.fingerprint != kind(size + 8).fingerprint


def test_pixels_are_luma():
    images = torch.rand(2, 3, 4, 4)
    expected = 0.299 * images[:, 0] + 0.587 * images[:, 1] + 0.114 * images[:, 2]
    torch.testing.assert_close(features(PixelSource(4), images), expected.flatten(1))


def test_lbp_counts_the_patterns_of_every_cell(levels):
    found = features(LbpSource(33), grey(levels)).view(3, 4, 4, 59)
    for n, picture in enumerate(levels):
        codes = local_binary_pattern(picture, 8, 1, "nri_uniform")
        for i in range(4):
            for j in range(4):
                counts = np.zeros(59)
                for code in codes[8 * i : 8 * i + 8, 8 * j : 8 * j + 8].ravel():
                    counts[int(code)] += 1 / 64
                np.testing.assert_allclose(found[n, i, j], counts, atol=1e-6)


def test_lbp_sees_no_change_of_brightness():
    levels = np.random.default_rng(0).integers(0, 100, (2, 32, 32)).astype(np.uint8)
    one, other = (features(LbpSource(32), grey(x)) for x in (levels, 2 * levels + 30))
    # But for neighbours exactly as bright as the middle, which rounding decides.
    assert (one - other).abs().mean() < 1e-3
    turned = features(LbpSource(32), grey(levels.transpose(0, 2, 1).copy()))
    assert (one - turned).abs().mean() > 5e-3


@pytest.mark.parametrize(("axis", "bin_"), [(1, 0), (0, 4)])
def test_hog_of_a_ramp_is_one_direction(axis, bin_):
    """All gradients point along the ramp: one of 9 bins in every cell of every block."""
    ramp = np.arange(32, dtype=np.uint8) * 5
    picture = np.broadcast_to(ramp[None] if axis else ramp[:, None], (32, 32)).copy()
    found = features(HogSource(32), grey(picture[None])).view(9, 4, 9)
    assert (found[..., bin_] > 0.3).all()
    others = [i for i in range(9) if i != bin_]
    assert found[..., others].abs().max() == 0


def test_hog_sees_no_change_of_contrast(levels):
    images = grey(levels)
    one, other = (features(HogSource(33), x) for x in (images, 0.5 * images + 0.2))
    torch.testing.assert_close(one, other, atol=1e-3, rtol=0)


SIDE = 48


def faces(count=5):
    """Smooth coloured pictures: a degradation that destroys detail shows."""
    rng = np.random.default_rng(0)
    records = []
    for i in range(count):
        small = Image.fromarray(rng.integers(40, 215, (6, 6, 3), dtype=np.uint8))
        pixels = np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
        records.append(FaceRecord(f"face {i}", pixels))
    return FaceSet("some", "all", records)


def changed(change, seed=0, picked=None):
    found = ChangedFaces(faces(), change, seed).read_many(picked or [0, 1, 2, 3, 4])
    return np.stack(found).astype(np.float64)


def clean():
    return np.stack(faces().read_many([0, 1, 2, 3, 4])).astype(np.float64)


@pytest.mark.parametrize("factor", DEGRADATIONS)
def test_the_stronger_the_farther_from_the_picture(factor):
    away = [np.abs(changed(change) - clean()).mean() for change in DEGRADATIONS[factor]]
    if factor == "resolution":
        away.reverse()
    assert away[0] > 0
    assert all(a < b for a, b in pairwise(away))


@pytest.mark.parametrize("change", [c[1] for c in DEGRADATIONS.values()], ids=DEGRADATIONS)
def test_a_picture_is_changed_alike_in_any_batch(change):
    together = changed(change)
    torch.rand(3)  # nor by what else was drawn
    alone = np.concatenate([changed(change, picked=[i]) for i in (3, 0)])
    assert np.abs(alone - together[[3, 0]]).max() <= 1
    other = changed(change, seed=1)
    assert (np.abs(other - together).max() > 1) == change.drawn


def test_known_cases():
    x = clean()
    (dark,) = [c for c in DEGRADATIONS["darkness"] if c.level == 2]
    np.testing.assert_allclose(changed(dark), 255 * (x / 255) ** 2, atol=0.51)
    for change in DEGRADATIONS["occlusion"]:
        black = (changed(change) == 0).all(axis=3)
        assert black.mean(axis=(1, 2)) == pytest.approx(change.level / 100, abs=0.03)
        rows = black[0].any(axis=1).sum() * black[0].any(axis=0).sum()
        assert rows == black[0].sum()  # one square
    difference = changed(DEGRADATIONS["noise"][0]) - x
    assert difference.std() == pytest.approx(10, rel=0.05)
    inside = (np.abs(changed(DEGRADATIONS["noise"][0]) - 127.5) < 127).all(axis=3)  # not clipped
    grey_noise = difference - difference.mean(axis=3, keepdims=True)
    assert inside.mean() > 0.9
    assert np.abs(grey_noise[inside]).max() <= 1


def test_blur_by_a_loop():
    change = DEGRADATIONS["blur"][0]
    sigma = change.level / 100 * SIDE
    reach = int(np.ceil(3 * sigma))
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-(offsets**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    x, expected = clean()[0], 0.0
    for dy, a in zip(offsets, kernel, strict=True):
        for dx, b in zip(offsets, kernel, strict=True):
            expected = expected + a * b * x[24 + dy, 20 + dx]
    np.testing.assert_allclose(changed(change)[0, 24, 20], expected, atol=0.6)


def test_jpeg_is_near_a_real_codec():
    change = DEGRADATIONS["JPEG"][2]
    buffer = io.BytesIO()
    Image.fromarray(clean()[0].astype(np.uint8)).save(buffer, "JPEG", quality=int(change.level))
    real = np.asarray(Image.open(buffer)).astype(np.float64)
    ours = changed(change)[0]
    assert np.abs(ours - real).mean() < 0.6 * np.abs(real - clean()[0]).mean()


def test_content_tells_changes_apart():
    changes = degradations(["all"])
    hashes = {ChangedFaces(faces(), change, 0).content_hash(0) for change in changes}
    assert len(hashes | {faces().content_hash(0)}) == len(changes) + 1
    known = ChangedFaces(faces(), changes[0], 0, {0: faces().content_hash(0)})
    assert known.content_hash(0) in hashes


def pixels_of(task, folder):
    """A task's images, and their pixels as features."""
    cache, source = FeatureCache(folder / "f"), PixelSource(12)
    pictures = Pictures(task.faces, task.indices)
    cache.fill([source], pictures)
    return cache.read(source, pictures, source.space), pictures


def test_expression_is_fitted_clean_and_scored_degraded(small_data, tmp_path):
    task = Expression(find_face_sets(small_data, "all"), replicates=20)
    features, pictures = pixels_of(task, tmp_path)
    tested = task.tested()
    rows = task.rows(features, pictures)
    assert set(tested) == set(features.records[rows.test])
    # In another order, and one picture not degraded at all but of another test picture.
    values = features.values[torch.from_numpy(rows_of(features, tested))]
    same = Features(values.flip(0), tested[::-1].copy())
    wrong = Features(values + 1, tested)
    as_it_is, moved = task.score_degraded(features, pictures, [same, wrong])
    assert as_it_is == task.score(features, pictures)[:2]
    logits = task.fit(features, rows)(
        wrong.values[torch.from_numpy(rows_of(wrong, features.records[rows.test]))]
    )
    hits = logits.argmax(1).numpy() == task.labels[features.records[rows.test]]
    assert moved[0].value == pytest.approx(100 * hits.mean())
    assert moved[0].sample == as_it_is[0].sample


def test_identity_on_pictures_as_they_are_is_the_plain_figure(small_data, tmp_path):
    task = Identity(find_face_sets(small_data, "all"), replicates=20)
    features, pictures = pixels_of(task, tmp_path)
    nothing = Features(torch.zeros_like(features.values), features.records)
    plain, blind = task.score_degraded(features, pictures, [features, nothing])
    assert plain == task.score(features, pictures)[:4]
    assert blind[1].value == 50
    assert blind[0].hyperparameters == plain[0].hyperparameters
