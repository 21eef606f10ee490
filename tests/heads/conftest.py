"""What tests of heads share."""

from __future__ import annotations

import pytest

from tests.support.threads import one_thread

one_thread = pytest.fixture(autouse=True)(one_thread)
