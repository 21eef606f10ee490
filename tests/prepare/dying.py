"""A reader that crashes on one file, for worker processes to import."""

from __future__ import annotations

import os

from ssl_faces.prepare.detectors import Faces
from ssl_faces.prepare.reading import Settings, SourceFaces, read_source
from ssl_faces.prepare.sources import Source


def nobody(picture: object) -> Faces:
    return Faces.none()


def no_detector(settings: Settings) -> None:
    """Replaces the initialisation of a worker."""


def read_or_die(source: Source, settings: Settings) -> SourceFaces:
    """Reads images without faces, and crashes on one file."""
    if source.key.endswith("killer.png"):
        os._exit(1)
    return read_source(source, settings, nobody)
