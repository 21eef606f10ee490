"""Moved to tests/support; until all importers follow."""

from tests.support.refusals import message_of as message_of
