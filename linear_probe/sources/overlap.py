"""Test images that an encoder was pretrained on: counted, printed, and kept in the records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from ssl_faces.data import FaceSet
from ssl_faces.data.near_copies import Described
from ssl_faces.encoders.encoder import FaceEncoder
from ssl_faces.encoders.trained_images import TrainedImages, load_trained_images


class Overlaps:
    """Counts which test images encoders were trained on, each encoder and test part once.

    Args:
        say: prints a line for the user.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self._trained: dict[str, TrainedImages | None] = {}
        self._tests: dict[tuple[int, bytes], Described] = {}
        self._known: dict[tuple[str, int, bytes], dict[str, int]] = {}

    def of(self, name: str, encoder: object, faces: FaceSet, tested: np.ndarray) -> dict[str, int]:
        """The fields of an `Overlap`, or nothing where it can't be known.

        That is so for encoders from elsewhere and ours without hashes of their training images.
        Untrained ones have no overlap to count.

        Args:
            name: of the encoder, for the user.
            tested: int64 [n], the records of `faces` that are scored.

        Raises:
            InputError: the hashes can't be read.
        """
        if not isinstance(encoder, FaceEncoder) or encoder.place is None:
            return {}
        place = str(encoder.place)
        if place not in self._trained:
            self._trained[place] = load_trained_images(place)
            if self._trained[place] is None:
                self.say(
                    f"{name}: no hashes of its training images, so that test images among them "
                    f"can't be counted; make them: ssl-faces trained-images {name}"
                )
        trained = self._trained[place]
        if trained is None or not len(tested):
            return {}
        images = id(faces), tested.tobytes()
        test = self._tests.setdefault(images, Described(faces, tested))
        if (place, *images) not in self._known:
            counts = self._known[place, *images] = asdict(trained.overlap(test))
            self.say(overlap_in_words(name, faces.title, counts))
        return self._known[place, *images]


def overlap_in_words(encoder: str, data_set: str, overlap: Mapping[str, Any]) -> str:
    """An overlap as a line for the user."""
    images, identical, near, of_people = (
        overlap.get(key, 0) for key in ("images", "identical", "near", "of_people")
    )
    of = f"{images:,} test images of {data_set}"
    if not (identical or near or of_people):
        return (
            f"{encoder}: its training images have none of the {of}, neither byte for byte nor as "
            "near-copies (HOG hash), and nobody of their people by name"
        )
    return (
        f"{encoder}: was trained on some of the {of}: on {identical:,} byte for byte, on {near:,} "
        f"more as near-copies (HOG hash); {of_people:,} show people, by name, whose images it was "
        "trained on"
    )
