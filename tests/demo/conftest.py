"""Fixtures for the tests of the page."""

from tests.support.apps import encoder_folder, run_of, stub
from tests.support.demo import comparison, with_probe

__all__ = ["comparison", "encoder_folder", "run_of", "stub", "with_probe"]
