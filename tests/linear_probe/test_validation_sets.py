"""`--validation`: a part of the training parts is scored, and no test image is seen."""

import pytest

from linear_probe.tasks.validation_sets import FOLDS, validation_sets
from ssl_faces.data import find_face_sets
from tests.support.noise_sets import lfw, utkface, youtube


@pytest.fixture
def folder(tmp_path):
    people = {f"Person{chr(65 + i)}": 5 for i in range(26)}
    youtube(tmp_path / "youtube", people)
    lfw(tmp_path / "lfw", {"PersonB": 3, "PersonC": 2, "Zoe": 2}, tested=("PersonB", "Zoe"))
    utkface(tmp_path / "utk", 40)
    return tmp_path


def test_parts_are_of_training_images_alone(folder):
    sets = find_face_sets(folder, "all")
    tested = {r.key for faces in sets for r in faces.test_part().records}
    people = {person for faces in sets for person in faces.held_out_people}
    assert "PersonB" in people
    by_name = {part.name: part for part in validation_sets(sets)}
    assert set(by_name) == {"youtube_keypoints_validation", "utkface_validation"}
    for part in by_name.values():
        test = part.test_part()
        assert 0 < len(test) < len(part)
        assert not tested & {r.key for r in part.records}
        assert not people & {r.person for r in part.records}
        assert {r.key for r in test.records} <= {r.key for r in part.records}
        known = {r.person for r in test.records} - {None}
        rest = {r.person for r in part.records if r.key not in {t.key for t in test.records}}
        assert not known & rest


def test_pairs_to_verify_are_of_training_people_by_fold(folder):
    part = next(
        p for p in validation_sets(find_face_sets(folder, "all")) if p.name.startswith("youtube")
    )
    person_of = {r.key: r.person for r in part.records}
    fold_of = {}
    same = [pair for pair in part.pairs if pair.same]
    # Of five images the first two with the last two.
    assert len(same) == 2 * len(part.people) == len(part.pairs) / 2
    assert {pair.fold for pair in same} == set(range(FOLDS))
    for pair in part.pairs:
        first, second = person_of[pair.first], person_of[pair.second]
        assert (first == second) == pair.same
        assert pair.first != pair.second
        for person in (first, second):
            assert fold_of.setdefault(person, pair.fold) == pair.fold
