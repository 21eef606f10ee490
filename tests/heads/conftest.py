"""What tests of heads share."""

import pytest

from tests.support.threads import one_thread

one_thread = pytest.fixture(autouse=True)(one_thread)
