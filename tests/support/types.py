"""Short names for types of fixtures."""

from __future__ import annotations

import pytest

Capsys = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch
