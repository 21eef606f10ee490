"""Tracking, on boxes that move."""

import numpy as np

from ssl_faces.prepare.tracks import Tracker, overlap
from tests.support.images import faces_at

GREY = np.full((36, 64, 3), 90, np.uint8)
DRAW = np.random.default_rng(0)
ANNA, BEN = DRAW.random((2, 256)) < 0.5


def step(tracker, time, *faces, frame=GREY):
    """Faces 100 px wide with their left sides there, and who they look like."""
    found = faces_at([(left, 0, left + 100, 100) for left, _ in faces])
    bits = np.array([who for _, who in faces], bool).reshape(-1, 256)
    return tracker.step(time, frame, found.boxes, found.landmarks, bits)


def test_faces_that_move_keep_their_clips_in_whatever_order_they_come():
    tracker = Tracker(0.5)
    assert step(tracker, 0.0, (0, ANNA), (300, BEN)) == [0, 1]
    assert step(tracker, 0.2, (280, BEN), (20, ANNA)) == [1, 0]
    assert step(tracker, 0.4, (40, ANNA), (260, BEN)) == [0, 1]


def test_a_gap_ends_a_clip():
    tracker = Tracker(0.5)
    assert step(tracker, 0.0, (0, ANNA)) == [0]
    assert step(tracker, 0.2) == []
    assert step(tracker, 0.4, (0, ANNA)) == [0]
    assert step(tracker, 1.0, (0, ANNA)) == [1]


def test_a_cut_ends_a_clip():
    tracker = Tracker(0.5)
    assert step(tracker, 0.0, (0, ANNA)) == [0]
    assert step(tracker, 0.2, (0, ANNA), frame=GREY + 100) == [1]
    assert step(tracker, 0.4, (0, ANNA), frame=GREY + 105) == [1]


def test_another_person_at_the_same_place_begins_a_clip():
    """As where a film cuts between two who talk, before the same wall."""
    tracker = Tracker(0.5)
    assert step(tracker, 0.0, (0, ANNA)) == [0]
    assert step(tracker, 0.2, (0, BEN)) == [1]


def test_a_jump_begins_a_clip():
    tracker = Tracker(0.5)
    assert step(tracker, 0.0, (0, ANNA)) == [0]
    assert step(tracker, 0.2, (70, ANNA)) == [1]


def test_where_two_could_be_one_nobody_goes_on():
    tracker = Tracker(0.5)
    assert step(tracker, 0.0, (0, ANNA)) == [0]
    assert step(tracker, 0.2, (10, ANNA), (20, ANNA)) == [1, 2]
    assert step(tracker, 0.4, (15, ANNA)) == [3]
    assert step(tracker, 0.6, (15, ANNA)) == [3]


def test_overlap_in_closed_form():
    one, other, far = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 0, 30, 10]], float)
    assert overlap(one, one) == 1
    assert overlap(one, other) == 50 / 150
    assert overlap(one, far) == 0
    assert overlap(one, one * 0) == 0
