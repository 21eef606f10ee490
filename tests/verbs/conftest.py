"""Fixtures for the tests of commands on the user's own images."""

from tests.support.apps import encoder_folder, release_of, run_of, stub

__all__ = ["encoder_folder", "release_of", "run_of", "stub"]
