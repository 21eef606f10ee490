"""Moved to tests/support; until all importers follow."""

from tests.support.pickles import Touch as Touch
