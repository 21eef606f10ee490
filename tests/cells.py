"""Moved to tests/support; until all importers follow."""

from tests.support.cells import cells as cells
