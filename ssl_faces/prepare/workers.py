"""Read sources in several processes; a file that crashes its process is skipped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

import numpy as np

from ssl_faces.common.children import deaf_to_interrupts, worker_pool
from ssl_faces.common.errors import InputError
from ssl_faces.prepare.detectors import FaceDetector, open_detector
from ssl_faces.prepare.reading import FaceRow, Settings, SourceFaces, read_source
from ssl_faces.prepare.sources import Source

_CRASHED = "brings its reader down (a broken file, or too little memory)"
_START = "spawn"
_detector: FaceDetector | None = None


def detector_for(settings: Settings) -> FaceDetector:
    """The detector of these settings; it also detects faces just below the smallest kept size."""
    return open_detector(settings.detector, 0.8 * settings.min_face)


def read_all(
    sources: Sequence[Source], settings: Settings, workers: int
) -> Iterator[tuple[Source, SourceFaces]]:
    """Read sources in this process, or in `workers` others; in no fixed order.

    Raises:
        InputError: the detector can't be had.
    """
    if workers == 1 or len(sources) < 2:
        detector = detector_for(settings)
        for source in sources:
            yield source, read_source(source, settings, detector)
        return
    left = list(sources)
    while left:
        done: set[Source] = set()
        try:
            for source, faces in _by_pool(left, settings, min(workers, len(left))):
                done.add(source)
                yield source, faces
        except BrokenProcessPool:
            # Any of the files that were being read may be the cause: read these one by one.
            left = [source for source in left if source not in done]
            yield from _one_by_one(left[: 2 * workers], settings)
            left = left[2 * workers :]
            continue
        left = []


def _pool(settings: Settings, workers: int) -> ProcessPoolExecutor:
    return worker_pool(workers, _start, (settings,), _START)


def _by_pool(
    sources: Sequence[Source], settings: Settings, workers: int
) -> Iterator[tuple[Source, SourceFaces]]:
    with _pool(settings, workers) as pool:
        try:
            waiting: dict[Future[SourceFaces], Source] = {}
            remaining = iter(sources)
            while True:
                for source in remaining:
                    waiting[_submit(pool, source, settings)] = source
                    # Few at a time, so that a stopped command ends soon.
                    if len(waiting) >= 2 * workers:
                        break
                if not waiting:
                    return
                for future in wait(waiting, return_when="FIRST_COMPLETED").done:
                    yield waiting.pop(future), future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, source: Source, settings: Settings) -> Future[SourceFaces]:
    with deaf_to_interrupts():  # the first call starts the workers
        return pool.submit(_read, source, settings)


def _one_by_one(
    sources: Sequence[Source], settings: Settings
) -> Iterator[tuple[Source, SourceFaces]]:
    left = list(sources)
    while left:
        with _pool(settings, 1) as pool:
            try:
                while left:
                    yield left[0], _submit(pool, left[0], settings).result()
                    left.pop(0)
            except BrokenProcessPool:
                none = np.zeros((0, settings.size, settings.size, 3), np.uint8)
                crashed = SourceFaces("", [FaceRow(_CRASHED)], none, np.zeros((0, 32), np.uint8))
                yield left.pop(0), crashed


def _start(settings: Settings) -> None:
    import torch

    global _detector
    torch.set_num_threads(1)
    try:
        _detector = detector_for(settings)
    except InputError:
        _detector = None  # the first read raises it again


def _read(source: Source, settings: Settings) -> SourceFaces:
    return read_source(source, settings, _detector or detector_for(settings))
