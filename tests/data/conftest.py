"""What tests of data share: a cache beside their files, and noise images to pack."""

import pytest

from tests.support.packed import noise_images


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Packs of made-up faces stand beside them, not in the user's cache."""
    monkeypatch.setenv("SSL_FACES_CACHE", str(tmp_path / "default"))
    return tmp_path / "default"


@pytest.fixture
def root(tmp_path):
    """Four noise images of several sizes and kinds."""
    return noise_images(tmp_path / "faces")


@pytest.fixture
def cache(tmp_path):
    """A folder for packs other than the default one."""
    return tmp_path / "cache"
