"""The faces that pretraining sees: face sets or packs, less what probes test on."""

from __future__ import annotations

import functools
import logging
import operator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytorch_lightning as pl

from ssl_faces.common.errors import InputError
from ssl_faces.data.faces import FaceSet
from ssl_faces.data.sets.discover import default_data_root, find_face_sets
from ssl_faces.data.store.cached import pack
from ssl_faces.data.store.held_out import HeldOut
from ssl_faces.data.store.packs import Pack
from ssl_faces.data.store.selection import (
    all_fit,
    held_out_by,
)
from ssl_faces.data.store.stored_faces import StoredFaces, has_identity_labels, knows_people
from ssl_faces.pairs.mix import joined_with
from ssl_faces.pairs.online import OF_PACKS, Online, keep_back, keep_back_of_root
from ssl_faces.rendered import RenderedFaces

_log = logging.getLogger(__name__)

RENDERED = 8192
"""Rendered faces by default."""


class TrainingFaces(pl.LightningDataModule):
    """The part of `FaceData` that finds and packs faces, and leaves out test images.

    Args:
        use_people: whether people are known by a label.
        identity_labels: whether labels of real people's identity count, see `FaceData`.
        root, sets, packs, rendered, size, seed, cache, cache_gb: as in `FaceData`.
        leave_out_tests, leave_out_near_copies, online_pictures, online_root: likewise.
    """

    def __init__(
        self,
        *,
        root: Path | str | None,
        sets: list[FaceSet] | None,
        packs: str | list[str] | None,
        rendered: int,
        size: int,
        seed: int,
        cache: Path | None,
        cache_gb: float | None,
        use_people: bool,
        identity_labels: bool,
        leave_out_tests: bool,
        leave_out_near_copies: bool,
        online_pictures: int,
        online_root: Path | None,
    ) -> None:
        super().__init__()
        self.root = None if root is None else Path(root)
        self.sets = sets
        self.places = packs.split(",") if isinstance(packs, str) else packs
        self.rendered = rendered
        self.size = size
        self.seed = seed
        self.cache = cache
        self.cache_gb = cache_gb
        self.use_people = use_people
        self.identity_labels = identity_labels
        self.leave_out_tests = leave_out_tests
        self.leave_out_near_copies = leave_out_near_copies
        self.online_pictures = online_pictures
        self.online_root = online_root
        self.online = Online()
        self.packs: list[Pack] = []
        self.faces: StoredFaces | None = None
        self.tested: dict[str, bool] = {}
        self._held_out: HeldOut | None = None
        self._found: list[FaceSet] | None = None

    def prepare_data(self) -> None:
        """Pack every set, or verify and fetch the packs; once a machine."""
        packs = self._opened()
        for one in packs:
            one.verify()
            if all_fit(packs, self._most):
                one.fetch()
        if self.places is None:
            self._tests(packs)  # finds near-copies once a machine

    def _opened(self) -> list[Pack]:
        if self.places is None:
            sets = _with_pictures(self._face_sets())
            return [pack(faces, self.size, self.cache) for faces in sets]
        packs = [Pack(place.strip(), self.cache, self._most) for place in self.places]
        for one in packs:
            if one.size != self.size:
                raise InputError(
                    f"{one.place}: a pack of {one.size} px, and data.size is {self.size}; set "
                    f"data.size={one.size}, or pack the pictures again"
                )
        return packs

    def _tests(self, packs: list[Pack]) -> HeldOut:
        """What probes test on, as far as it matters here."""
        if not self.leave_out_tests and not self.online_pictures:
            return HeldOut.of()
        near = self.leave_out_tests and self.leave_out_near_copies
        if self.places is not None:
            tests = functools.reduce(operator.or_, (one.held_out for one in packs))
            return tests if near else replace(tests, near=HeldOut.of().near)
        if self._held_out is None:
            # Of all sets: one that is all test has nothing to train on, but much to leave out.
            sets = self._face_sets()
            self._held_out = held_out_by(sets, near, self.cache)
            self.tested = {
                faces.title: near and faces.near_copies for faces in sets if faces.test_part()
            }
        return self._held_out

    def _keep_back(self, tests: HeldOut) -> None:
        """Choose what pretraining leaves to the online probe."""
        if not self.online_pictures:
            return
        if self.places is None:
            self.online = keep_back(self._face_sets(), tests, self.online_pictures, self.size)
        elif self.online_root is None:
            self.online = Online(off=OF_PACKS)
        else:
            self.online = keep_back_of_root(
                self.online_root, tests, self.online_pictures, self.size
            )

    @property
    def _most(self) -> int | None:
        return None if self.cache_gb is None else int(self.cache_gb * 10**9)

    @property
    def has_people(self) -> bool:
        """Whether pairs may be two pictures of one person."""
        use = (self.use_people, self.identity_labels)
        return any(knows_people(a, *use) for pack in self.packs for a in pack.index.sets)

    @property
    def uses_identity_labels(self) -> bool:
        """Whether pairs may be two images of one real person, by a label of the identity."""
        if not self.use_people or not self.identity_labels:
            return False
        return any(has_identity_labels(a) for pack in self.packs for a in pack.index.sets)

    def _face_sets(self) -> list[FaceSet]:
        if self.sets is not None and self.root is None:
            return self.sets
        if self._found is None:
            part = "train" if self.leave_out_tests else "all"
            if self.root is not None:
                self._found = find_face_sets(self.root, part)  # type: ignore[arg-type]
                self._found = joined_with(self._found, self.sets or [], self.root)
            elif (usual := default_data_root()).is_dir() and any(usual.iterdir()):
                if self.rendered != RENDERED:
                    _log.warning("data.rendered has no effect: there are real faces in %s", usual)
                self._found = find_face_sets(usual, part)  # type: ignore[arg-type]
            else:
                _log.warning(
                    "no faces at %s: training on rendered ones (give --data.root FOLDER)",
                    usual,
                )
                people = min(256, self.rendered)
                self._found = [RenderedFaces(self.rendered, people, size=self.size, seed=self.seed)]
        return self._found

    @property
    def leaves_tests_out(self) -> bool:
        """Whether test parts are left out, now or when the packs were made."""
        if self.places and any(a.get("tests") for one in self.packs for a in one.index.sets):
            return False
        return self.leave_out_tests or any(
            len(one.held_out.people) or len(one.held_out.hashes) for one in self.packs
        )

    def tests_left_out(self) -> list[str]:
        """What of which test parts is left out, now or when the packs were made, in words."""
        if not self.leaves_tests_out:
            return []
        if self.places is not None:
            held_out = functools.reduce(operator.or_, (one.held_out for one in self.packs))
            near = self.leave_out_near_copies and len(held_out.near) > 0
            sets = {"the sets that the packs were made of": near}
        else:
            held_out, sets = self._held_out or HeldOut.of(), self.tested
        parts = []
        if sets:
            parts.append(f"test images of {', '.join(sets)} and their byte-identical copies")
        if len(held_out.people):
            parts.append("images of their test people, by name")
        searched = [title for title, near in sets.items() if near]
        if searched:
            parts.append(f"near-copies (HOG) of test images of {', '.join(searched)}")
        return parts

    def trained_on(self) -> list[tuple[str, str, str]]:
        """(set, key, SHA-256 of the stored bytes) of every picture that is trained on."""
        assert self.faces is not None
        keys = [key for pack in self.packs for key in pack.index.images.key_list()]
        hashes = np.concatenate([pack.index.images.hashes for pack in self.packs])
        names, sets = self.faces.set_names, self.faces.sets
        numbers = np.flatnonzero(self.faces.kept).tolist()
        return [(names[sets[i]], keys[i], hashes[i].tobytes().hex()) for i in numbers]


def _with_pictures(sets: list[FaceSet]) -> list[FaceSet]:
    found = [faces for faces in sets if len(faces)]
    if not found:
        raise InputError(
            f"{', '.join(faces.title for faces in sets)}: all of it is tested on by probes, which "
            "leaves nothing to train on; give more faces, or set data.leave_out_tests=false"
        )
    return found
