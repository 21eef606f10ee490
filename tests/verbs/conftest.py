"""Fixtures for the tests of commands on the user's own images."""

from tests.support.apps import a_run, encoder_folder, release_of, run_of, stub
from tests.support.images import rendered, write_all, write_video


def lossless_video(path, frames, fps=5):  # type: ignore[no-untyped-def]
    return write_video(path, frames, fps, "ffv1")


__all__ = ["a_run", "encoder_folder", "release_of", "rendered", "run_of", "stub", "write_all"]
