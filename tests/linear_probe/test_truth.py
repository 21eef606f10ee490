"""Scores against rendered truth: what is exactly right, what is trivial, and naive loops."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy.spatial import Delaunay
from torchmetrics.functional.image import structural_similarity_index_measure

from linear_probe.cli import main
from linear_probe.experiments.edits import BLURRED, INPUT, blurred, of_one_size
from linear_probe.experiments.truth.faces import (
    AGAIN,
    FRONTAL,
    MOTION,
    MOVES,
    NEUTRAL,
    SWAP,
    TASKS,
    TWO_FACE_EDITS,
    TruthFaces,
    face_region,
    truths,
)
from linear_probe.experiments.truth.left import LEFT, pairs_of
from linear_probe.experiments.truth.run import (
    MEAN_FACE,
    MEAN_TRUTH,
    OTHER,
    OTHER_FRAME,
    TRUTH,
    errors,
    score,
)
from linear_probe.records.measured import records_of
from linear_probe.reports.command import table
from ssl_faces.callbacks.panels import panel
from ssl_faces.data import EXPRESSIONS, in_test_share
from ssl_faces.rendered import FACTORS, RenderedFaces, project_landmarks, render_faces
from tests.support.refusals import error_of

COUNT, SIZE = 24, 32


@pytest.fixture(scope="module")
def faces():
    return TruthFaces(COUNT, SIZE)


@pytest.fixture(autouse=True)
def few_training_faces(monkeypatch):
    monkeypatch.setattr("linear_probe.experiments.truth.faces._TRAINING", 70)


class Fake:
    """Edits given as functions."""

    picture_size = SIZE

    def __init__(self, edits):
        self._edits = edits

    def edits(self):
        return self._edits

    def state_dict(self):
        return {}


def all_knowing(faces):
    """Knows the truths of the test faces by their pixels."""
    batch = faces.batch(np.arange(len(faces)))
    place = {picture.numpy().tobytes(): i for i, picture in enumerate(batch.images)}
    assert len(place) == len(faces)

    def right(task, images, second=None):
        rows = [place[picture.numpy().tobytes()] for picture in images]
        if task == MOTION and second is not None and torch.equal(second, batch.second[AGAIN][rows]):
            task = AGAIN
        if second is not None:
            assert torch.equal(second, batch.second[task][rows])
        return batch.truths[task][rows]

    return Fake({task: partial(right, task) for task in TASKS if task != AGAIN})


def figures_of(rows):
    return {
        (row.task.name, row.encoder): {
            f.metric: (f.value, *f.replicates.tolist()) for f in row.figures
        }
        for row in rows
    }


def test_the_truth_has_no_error_and_trivial_methods_are_the_trivial_rows(faces):
    methods = {
        "right": all_knowing(faces),
        "lazy": Fake(
            {
                NEUTRAL: lambda images: images,
                FRONTAL: lambda images: images,
                SWAP: lambda images, second: second,
                MOTION: lambda images, second: second,
            }
        ),
        "half": Fake({NEUTRAL: lambda images: images * 0.5}),
    }
    rows, pictures = score(methods, faces, replicates=20, batch_size=7)
    found = figures_of(rows)
    for task in TASKS:
        for metric, values in found[task, "right"].items():
            assert set(values) == {0.0 if "L1" in metric else 100.0}
        trivial_of = {SWAP: OTHER, MOTION: OTHER, AGAIN: OTHER_FRAME}
        assert found[task, "lazy"] == found[task, trivial_of.get(task, INPUT)]
    assert (FRONTAL, "half") not in found
    assert found[NEUTRAL, "half"]["L1"] > found[NEUTRAL, INPUT]["L1"]
    # All of a table on the same draws of the same faces.
    for task in TASKS:
        of_task = [f for row in rows if row.task.name == task for f in row.figures]
        assert len({f.sample for f in of_task}) == 1
        assert {f.n for f in of_task} == {COUNT}
    same = {t: found[t, INPUT] == found[t, BLURRED] for t in TASKS if t != AGAIN}
    assert not any(same.values())
    assert (AGAIN, INPUT) not in found  # the input is the truth there
    trivial = {NEUTRAL: MEAN_TRUTH, FRONTAL: MEAN_TRUTH, SWAP: OTHER, MOTION: OTHER}
    assert all({INPUT, MEAN_FACE, t} <= {e for n, e in found if n == k} for k, t in trivial.items())
    # What is left in frontal faces: rows of what is trivial, of the truth, and of the methods.
    assert found[LEFT, "lazy"] == found[LEFT, INPUT]
    assert found[LEFT, "right"] == found[LEFT, TRUTH] != found[LEFT, INPUT]
    assert (LEFT, "half") not in found
    text = table([record for row in rows for record in records_of(row, "a machine")])
    assert f"{NEUTRAL}: rendered faces, test people, {SIZE} px, nuisances mild" in text
    assert "right: neutral face" in pictures
    assert torch.equal(pictures["true frontal face"], pictures["right: frontal face"])
    # One picture for both is shown once.
    assert torch.equal(pictures["lazy: neutral face, frontal face"], pictures["input"])
    assert all(of.shape == (8, 3, SIZE, SIZE) for of in pictures.values())


def test_figures_are_means_of_naive_loops(faces):
    rows, _ = score({"dark": Fake({FRONTAL: lambda x: x * 0.9})}, faces, 5, batch_size=10)
    found = figures_of(rows)[FRONTAL, "dark"]
    batch = faces.batch(np.arange(COUNT))
    of, other = (faces.faces.factors(i) for i in (faces._indices, faces._indices))
    points = project_landmarks(truths(of, other)[FRONTAL], SIZE).numpy()
    whole, inside = [], []
    for k in range(COUNT):
        hull = Delaunay(points[k])
        of_face, of_all = [], []
        for y in range(SIZE):
            for x in range(SIZE):
                pair = batch.images[k, :, y, x] * 0.9, batch.truths[FRONTAL][k, :, y, x]
                distance = float((pair[0] - pair[1]).abs().mean())
                of_all.append(distance)
                if hull.find_simplex((x, y)) >= 0:
                    of_face.append(distance)
        whole.append(np.mean(of_all))
        inside.append(np.mean(of_face))
    assert found["L1"][0] == pytest.approx(100 * np.mean(whole), rel=1e-5)
    assert found["face L1"][0] == pytest.approx(100 * np.mean(inside), rel=1e-3)


def test_intervals_draw_people(faces):
    """A metric that is the same for all pictures of a person can only take means over people."""
    from linear_probe.experiments.truth.run import figures

    numbers = np.unique(faces.people, return_inverse=True)[1]
    found = figures({"L1": numbers.astype(float)}, faces, 50)[0]
    sizes = np.bincount(numbers)
    n = len(sizes)
    draws = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), 50)
    by_hand = (draws * sizes * np.arange(n)).sum(1) / (draws * sizes).sum(1)
    np.testing.assert_allclose(found.replicates, 100 * by_hand, rtol=1e-5)


def test_ssim_is_torchmetrics():
    torch.manual_seed(0)
    coarse = torch.rand(6, 3, 8, 8)
    one, other = torch.nn.functional.interpolate(coarse, (32, 32)).view(2, 3, 3, 32, 32)
    expected = structural_similarity_index_measure(
        one, other, data_range=1.0, reduction="none", return_full_image=True
    )[1]
    region = torch.zeros(3, 32, 32, dtype=torch.bool)
    region[:, 7:20, 5:25] = True
    found = errors(one, other, region)
    torch.testing.assert_close(found["SSIM"], expected.mean((1, 2, 3)), rtol=0, atol=1e-4)
    part = expected[..., 7:20, 5:25].mean((1, 2, 3))
    torch.testing.assert_close(found["face SSIM"], part, rtol=0, atol=1e-4)


def test_faces_are_of_test_people_and_swaps_of_others(faces):
    people = {key.partition("/")[0] for key in faces.keys}
    assert all(in_test_share(name) for name in people)
    assert not people & set(RenderedFaces(COUNT * 10, 200, "train", SIZE).people)
    assert len(set(faces.keys)) == COUNT
    assert (faces.people[faces._partners[:COUNT]] != faces.people).all()
    counts = np.unique(faces.people, return_counts=True)[1]
    assert counts.max() - counts.min() <= 1
    # Keys are those of the set's own records.
    records = [faces.faces.records[int(i)] for i in faces._indices]
    assert [record.key for record in records] == faces.keys


def test_truths_change_what_they_should_and_nothing_else(faces):
    of = faces.faces.factors(faces._indices)
    other = faces.faces.factors(faces._indices[faces._partners])
    true = truths(of, other)
    for name, factor in FACTORS.items():
        source = other if factor.of == "person" else of
        assert torch.equal(true[SWAP][name], source[name])
        if factor.of == "person":
            assert torch.equal(true[NEUTRAL][name], of[name])
            assert torch.equal(true[FRONTAL][name], of[name])
        assert torch.equal(true[MOTION][name], (of if name in MOVES else other)[name])
        assert torch.equal(true[AGAIN][name], of[name])
    assert torch.equal(true[NEUTRAL]["yaw"], of["yaw"])
    assert not true[FRONTAL]["yaw"].any()
    # A neutral picture is its own neutral truth, to the last pixel.
    batch = faces.batch(np.arange(COUNT))
    neutral = [
        record.labels["expression"] == EXPRESSIONS.index("neutral")
        for record in (faces.faces.records[int(i)] for i in faces._indices)
    ]
    same = (batch.truths[NEUTRAL] == batch.images).flatten(1).all(1)
    assert any(neutral)
    assert same[torch.tensor(neutral)].all()
    assert not same.all()


def test_motion_moves_and_the_rest_stays(faces):
    """The second image of re-expression is the same picture, but for what the face does."""
    assert (faces.people[faces._following] == faces.people).all()
    batch = faces.batch(np.arange(COUNT))
    differ = (batch.second[AGAIN] - batch.images).abs().flatten(1).mean(1)
    others = faces._following != np.arange(COUNT)
    assert others.sum() > COUNT / 2
    assert (differ[others] > 0).all()
    assert {"yaw", "pitch", "roll"} <= set(MOVES)


def test_pairs_are_of_one_person_and_of_two_and_folds_share_nobody():
    people = np.array([5, 5, 5, 1, 1, 2, 2, 7, 7, 7, 9, 3, 3])
    found = pairs_of(people)
    first, second, same, folds = found
    assert ((people[first] == people[second]) == same).all()
    assert same.sum() == (~same).sum()
    assert (first != second).all()
    for fold in np.unique(folds):
        inside, outside = (
            set(people[np.concatenate((first[rows], second[rows]))])
            for rows in (folds == fold, folds != fold)
        )
        assert not inside & outside
    assert 9 not in people[first]  # one picture
    assert pairs_of(np.array([0, 0, 1, 1, 2])) is None


def test_batches_are_parts_of_the_whole(faces):
    whole, part = faces.batch(np.arange(COUNT)), faces.batch(np.array([3, 20]))
    assert torch.equal(part.images, whole.images[[3, 20]])
    assert torch.equal(part.truths[SWAP], whole.truths[SWAP][[3, 20]])
    assert all(torch.equal(part.second[t], whole.second[t][[3, 20]]) for t in TWO_FACE_EDITS)
    assert torch.equal(part.regions[NEUTRAL], whole.regions[NEUTRAL][[3, 20]])


def test_mean_faces_are_means_over_training_people(faces, monkeypatch):
    monkeypatch.setattr("linear_probe.experiments.truth.faces._BATCH", 16)
    mean, of_truths = faces.means()
    train = RenderedFaces(70, 10, "train", SIZE)
    indices = np.arange(len(train))
    by_hand = train.render_batch(indices).double().mean(0) / 255
    torch.testing.assert_close(mean.double(), by_hand, atol=1e-6, rtol=0)
    pictures = train.counterparts(indices, ["neutral_frontal"])["neutral_frontal"]
    torch.testing.assert_close(
        of_truths[FRONTAL].double(), pictures.double().mean(0) / 255, atol=1e-6, rtol=0
    )


def test_the_region_is_the_face():
    """Skin within, background without: a face before a black and before a white background."""
    factors = {"background_value": torch.tensor([0.0, 1.0]), "yaw": torch.tensor([30.0, 30.0])}
    first, second = render_faces(factors, 64).float()
    region = face_region(factors, 64)[0]
    changed = ((first - second).abs() > 1).any(0)
    assert not (changed & region).any()
    assert 0.1 < region.float().mean() < 0.5


@pytest.mark.parametrize("count", [2, 3, 7, 8, 15])
def test_few_faces(count):
    few = TruthFaces(count, 16)
    assert len(few) == count
    assert len(np.unique(few.people)) >= 2
    assert (few.people[few._partners] != few.people).all()


def test_blurred_is_an_average_of_neighbours():
    point = torch.zeros(1, 3, 48, 48)
    point[..., 24, 24] = 1
    found = blurred(point)
    assert float(found[0, 0].sum()) == pytest.approx(1, abs=1e-5)
    grid = torch.arange(48.0) - 24
    spread = float((found[0, 0].sum(0) * grid**2).sum().sqrt())
    assert spread == pytest.approx(48 / 24, rel=0.03)  # cut off at three standard deviations


def test_the_panel_takes_images_of_several_sizes():
    rows = of_one_size({"a": torch.zeros(2, 3, 32, 32), "b": torch.ones(2, 3, 64, 64)})
    assert panel(rows).size == (96 + 2 * (96 + 2) + 2, 2 * (96 + 4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--run {tmp}/none --out {tmp}/o", "none: no such file"),
        ("--run {tmp} --out {tmp}/o", "last.ckpt: no such file; give a run's"),
        ("--run {tmp}/other.ckpt --out {tmp}/o", "is of simclr; give a run of facecycle_motion, "),
        ("--run {tmp}/text.ckpt --out {tmp}/o", "text.ckpt: can't be used"),
        ("--run {tmp}/bare.ckpt --out {tmp}/o", "its settings are not those of a facecycle_motion"),
    ],
)
def test_what_can_not_be_scored_is_told_in_a_sentence(arguments, message, tmp_path, capsys):
    torch.save({"state_dict": {}, "method": "simclr"}, tmp_path / "other.ckpt")
    torch.save({"state_dict": {}, "method": "facecycle_motion"}, tmp_path / "bare.ckpt")
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    words = ["truth", *arguments.format(tmp=tmp_path).split()]
    assert message in error_of(main, capsys, words)
    assert not (tmp_path / "o").exists()
