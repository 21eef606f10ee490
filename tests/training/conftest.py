"""A finished run of FaceCycle's stage 1."""

import pytest

from tests.support.fits import fit, settings


@pytest.fixture(scope="session")
def motion_run(faces, tmp_path_factory):
    """An uninterrupted run of stage 1."""
    out = tmp_path_factory.mktemp("runs") / "motion"
    fit(*settings("motion", faces, out))
    return out
