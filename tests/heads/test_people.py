"""Whose picture is it: who is a class, who is left out, what is kept back."""

import pytest
import torch

from linear_probe.heads.pictures import Decoded, People
from linear_probe.tasks import MissingData
from ssl_faces.data import FaceRecord, FaceSet


class Named(FaceSet):
    def __init__(self, name, people, held_out=None):
        records = [FaceRecord(f"{i}.jpg", b"", p) for i, p in enumerate(people)]
        super().__init__(name, "all", records, held_out_people=frozenset(held_out or ()))


def decode(faces, indices):
    # The image's value is its record.
    values = torch.from_numpy(indices).to(torch.uint8)[:, None, None, None]
    return Decoded(values.expand(-1, 3, 2, 2).clone(), indices, [])


def test_classes_are_people_of_a_set_with_two_pictures_or_more():
    one = Named("one", ["a"] * 20 + ["b", None, "test"] + ["c"] * 10, {"test"})
    # Its "a" is another person, and "test" is a test person of the first set.
    two = Named("two", ["a", "a", "test", "test"])
    people = People([one, two])
    assert people.count == people.goal().outputs == 3
    taught = people.pictures(decode, 0)
    assert len(taught.images) == 32
    of_class = {k: taught.images[taught.labels == k, 0, 0, 0].tolist() for k in range(3)}
    assert of_class == {0: list(range(20)), 1: list(range(23, 33)), 2: [0, 1]}
    assert sorted([*taught.train.tolist(), *taught.validation.tolist()]) == list(range(32))
    counts = taught.labels[taught.validation].bincount(minlength=3).tolist()
    assert counts == [2, 1, 0]


def test_few_pictures_are_of_the_most_photographed_people():
    faces = Named("one", ["a"] * 5 + ["b"] * 4 + ["c"] * 3)
    people = People([faces], max_train=9)
    assert people.count == 2
    assert len(people.pictures(decode, 0).images) == 9


def test_without_people_it_says_what_is_missing():
    with pytest.raises(MissingData, match="people: 1 with 2 pictures or more"):
        People([Named("one", ["a", "a", "b", None])])
