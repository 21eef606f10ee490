"""Frontal faces of profiles, judged against photographs: on people made of two colours."""

import numpy as np
import pytest
import torch
from PIL import Image

from linear_probe.cli import main
from linear_probe.experiments import edits
from linear_probe.experiments.edits import INPUT
from linear_probe.experiments.frontal.judge import Judge, ProfilePairs, recogniser
from linear_probe.experiments.frontal.run import (
    FRONTAL,
    MIRRORED,
    MOTION,
    NEUTRAL,
    OTHER_PHOTO,
    TASK,
    score,
)
from linear_probe.experiments.settings import FrontalSettings
from linear_probe.records.record import read_records
from linear_probe.records.runner import run_experiment
from linear_probe.sources.baselines import PixelSource
from ssl_faces.data import CFP
from tests.support.refusals import message_of

PEOPLE, SIDE = 12, 16


def put(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture
def cfp(tmp_path):
    """A person's frontal images are one random pattern with a little noise; profiles are noise."""
    random = np.random.default_rng(0)
    rows = ["first,second,same,fold"]
    for person in range(PEOPLE):
        folder = tmp_path / "cfp" / f"{person:03d}"
        pattern = random.integers(40, 216, (SIDE, SIDE, 3))
        for number in (1, 2, 3):
            noise = random.integers(-20, 21, pattern.shape)
            put(folder / "frontal" / f"{number:02d}.png", pattern + noise)
        for number in (1, 2):
            profile = random.integers(0, 256, pattern.shape)
            put(folder / "profile" / f"{number:02d}.png", profile)
            fold = person % 2
            stranger = (person + 2) % PEOPLE
            frontal = f"{number:02d}.png"
            for other, same in ((person, 1), (stranger, 0)):
                rows.append(
                    f"{other:03d}/frontal/{frontal},{person:03d}/profile/{frontal},{same},{fold}"
                )
    (tmp_path / "cfp" / "pairs_FP.csv").write_text("\n".join(rows) + "\n")
    # Nothing reads these here, but a folder of CFP has them.
    (tmp_path / "cfp" / "pairs_FF.csv").write_text(
        "\n".join(row.replace("/profile/01", "/frontal/03") for row in rows if "02.png" not in row)
    )
    return tmp_path / "cfp"


class Method:
    """A method of one edit."""

    picture_size = SIDE

    def __init__(self, edit):
        self.edit = edit

    def edits(self):
        return {FRONTAL: self.edit} if self.edit else {}

    def to(self, device):
        return self

    def state_dict(self):
        return {}


class Oracle:
    """Gives the person's third frontal image, which no pair has."""

    def __init__(self, pairs):
        of = pairs.people_of[pairs.frontal]
        third = np.array([pairs.frontal[of == who][2] for who in np.unique(of)])
        self.answers = pairs.images(third[pairs.people_of[pairs.profile]], SIDE)
        self.done = 0

    def __call__(self, images):
        self.done += len(images)
        return self.answers[self.done - len(images) : self.done]


def values(rows):
    return {(row.encoder, f.metric): f.value for row in rows for f in row.figures}


@pytest.fixture
def pairs(cfp):
    return ProfilePairs.of(CFP(cfp, "test"))


def scored(pairs, methods):
    judge = Judge(PixelSource(SIDE), pairs, 7, "cpu")
    rows, shown = score(pairs, judge, SIDE, methods, replicates=50)
    assert all(f.low <= f.value <= f.high or f.n == 0 for row in rows for f in row.figures)
    assert {len(images) for images in shown.values()} == {8}
    return values(rows)


def test_pairs_are_of_a_frontal_and_a_profile_image(pairs):
    keys = [record.key for record in pairs.faces.records]
    assert len(pairs.same) == 4 * PEOPLE
    assert pairs.same.sum() == 2 * PEOPLE
    for a, b, c, same in zip(pairs.first, pairs.second, pairs.other, pairs.same, strict=True):
        front, side, other = keys[pairs.frontal[a]], keys[pairs.profile[b]], keys[pairs.frontal[c]]
        assert ("frontal" in front, "profile" in side, "frontal" in other) == (True, True, True)
        assert (front[:3] == side[:3]) == same
        assert other[:3] == side[:3]
        assert other != front


def test_a_method_that_does_nothing_has_the_figures_of_the_input(pairs):
    found = scored(pairs, {"nothing": Method(lambda x: x), "mirror": Method(lambda x: x.flip(-1))})
    metrics = {metric for _, metric in found}
    assert metrics == {
        *("accuracy", "accuracy, gain on the input"),
        *("rank-1", "rank-1, gain on the input"),
    }
    for metric in metrics:
        assert found["nothing", metric] == found[INPUT, metric]
        assert found["mirror", metric] == found[MIRRORED, metric]
    assert found[INPUT, "accuracy, gain on the input"] == 0
    # Profiles of noise: at chance.
    assert 30 < found[INPUT, "accuracy"] < 70
    assert found[INPUT, "rank-1"] < 40


def test_a_method_that_knows_the_truth_is_right(pairs):
    found = scored(pairs, {"truth": Method(Oracle(pairs))})
    assert found["truth", "accuracy"] == 100
    assert found["truth", "rank-1"] == 100
    gain = found["truth", "accuracy, gain on the input"]
    assert gain == pytest.approx(100 - found[INPUT, "accuracy"])
    assert found[OTHER_PHOTO, "accuracy"] == 100
    assert (OTHER_PHOTO, "rank-1") not in found, "its own photograph is in the gallery"


def test_one_face_for_everybody_is_at_chance(pairs):
    found = scored(pairs, {"one": Method(lambda x: torch.full_like(x, 0.5))})
    assert found["one", "accuracy"] == 50
    assert found["one", "rank-1"] == pytest.approx(100 / PEOPLE)


def test_the_whole_command(cfp, tmp_path, monkeypatch, capsys):
    kinds = []

    def load(run, *, untrained, seed):
        kinds.append(untrained)
        return Method(lambda x: x / 2 if untrained else x)

    monkeypatch.setattr(edits, "load_method", load)
    out = tmp_path / "out"
    words = ["frontal", "--run", "mine", "--recogniser", "HOG", "--data", str(cfp), "--out"]
    assert main([*words, str(out), "--bootstrap", "20"]) == 0
    records = read_records(out / "records.jsonl")
    assert {r.task for r in records} == {TASK}
    rows = {r.encoder for r in records}
    assert {"mine", "mine, untrained", INPUT, MIRRORED, OTHER_PHOTO} < rows
    assert {r.n for r in records if r.metric == "accuracy"} == {4 * PEOPLE}
    assert {r.n for r in records if r.metric == "rank-1"} == {2 * PEOPLE}
    assert (out / "frontal.png").is_file()
    assert "accuracy, gain on the input" in capsys.readouterr().out
    assert kinds == [True, False]
    assert main([*words, str(out), "--no-untrained", "--bootstrap", "20"]) == 0
    assert kinds == [True, False, False]


def test_what_can_not_be_judged(cfp, tmp_path, pairs):
    text = message_of(run_experiment, FrontalSettings(run=["mine"], recogniser="mine"), tmp_path)
    assert text.startswith("--recogniser mine: is the run that it judges")
    assert "no_such_one: no card.json there" in message_of(recogniser, "no_such_one")
    text = message_of(scored, pairs, {"still": Method(None)})
    assert text.startswith("still: makes no frontal faces")
    other = tmp_path / "other"
    put(other / "1_0_0_2017.png", np.zeros((SIDE, SIDE, 3)))
    text = message_of(
        run_experiment, FrontalSettings(run=["mine"], recogniser="HOG", data=str(other)), tmp_path
    )
    assert text == f"{other}: holds no CFP with its frontal-profile pairs; give --data FOLDER"
    table = cfp / "pairs_FP.csv"
    table.write_text("\n".join(x for x in table.read_text().split("\n") if not x.endswith(",1")))
    text = message_of(ProfilePairs.of, CFP(cfp, "test"))
    assert "fewer than two folds" in text
    for number in ("02", "03"):
        (cfp / "000" / "frontal" / f"{number}.png").unlink()
    cfp_pairs = table.read_text() + "006/frontal/01.png,002/profile/01.png,0,1\n"
    table.write_text(cfp_pairs)
    text = message_of(ProfilePairs.of, CFP(cfp, "test"))
    assert text.startswith("000/profile/01.png: its person has no other frontal photograph than")


def test_the_panel_has_what_a_method_makes_of_the_frontal_photographs(pairs):
    class Editor(Method):
        def edits(self):
            return {
                FRONTAL: lambda images: images,
                NEUTRAL: lambda images: 1 - images,
                MOTION: lambda images, people: (images + 2 * people) / 3,
            }

    judge = Judge(PixelSource(SIDE), pairs, 7, "cpu")
    _, shown = score(pairs, judge, SIDE, {"it": Editor(None)}, replicates=50)
    front = shown["a frontal photograph"]
    torch.testing.assert_close(shown["it: the frontal one, neutral"], 1 - front)
    moved = (front[[1, 2, 3, 4, 5, 6, 7, 0]] + 2 * front) / 3
    torch.testing.assert_close(shown["it: … moved like the next"], moved)
