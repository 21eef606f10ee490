"""Read sources in several processes; a file that crashes its process is skipped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from concurrent.futures.process import BrokenProcessPool

from ssl_faces.common.children import deaf_to_interrupts, worker_pool
from ssl_faces.common.errors import InputError
from ssl_faces.prepare.detectors import FaceDetector, open_detector
from ssl_faces.prepare.reading import Settings, SourceFaces, failed, read_source
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
    if not sources:
        return
    if workers == 1 or len(sources) == 1:
        detector = detector_for(settings)
        for source in sources:
            yield source, read_source(source, settings, detector)
        return
    left = dict.fromkeys(sources)
    suspects: list[Source] = []
    while left:
        some, count = (suspects, 1) if suspects else ([*left], workers)
        try:
            for source, faces in _by_pool(some, settings, count):
                del left[source]
                yield source, faces
            suspects = []
        except BrokenProcessPool:
            # Any of the files that were being read may be the cause: read them one after another.
            suspects = [source for source in some if source in left][: 2 * workers]
            if count == 1:
                crashed = suspects.pop(0)
                del left[crashed]
                yield crashed, failed(_CRASHED, settings)


def _by_pool(
    sources: Sequence[Source], settings: Settings, workers: int
) -> Iterator[tuple[Source, SourceFaces]]:
    # Few at a time, so that a stopped command ends soon; one of one worker, to know which crashes.
    most = 2 * workers if workers > 1 else 1
    with worker_pool(workers, _start, (settings,), _START) as pool:
        try:
            waiting: dict[Future[SourceFaces], Source] = {}
            remaining = iter(sources)
            while True:
                for source in remaining:
                    with deaf_to_interrupts():  # the first call starts the workers
                        waiting[pool.submit(_read, source, settings)] = source
                    if len(waiting) >= most:
                        break
                if not waiting:
                    return
                for future in wait(waiting, return_when="FIRST_COMPLETED").done:
                    yield waiting.pop(future), future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


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
