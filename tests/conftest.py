"""Fixtures shared by all tests: where the real faces are, unpacked once."""

import os
import shutil
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before torch is imported: each of several processes has one thread, its children too.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# W&B is off unless a test sets its mode.
os.environ["WANDB_MODE"] = "disabled"

from ssl_faces.data import default_data_root

# How fast a machine is that does other work beside the tests is no fault of theirs.
settings.register_profile("usual", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("usual")

ARCHIVES = Path(__file__).resolve().parents[2] / "shared" / "data"
SETS = ("fer2013", "lfw", "UTKFace", "youtube_keypoints")


def unpack_once(archive, root):
    """Unpack the one folder of `archive` into `root`, whole or not at all; keep it if present."""
    with zipfile.ZipFile(archive) as packed:
        tops = {name.partition("/")[0] for name in packed.namelist()}
        assert len(tops) == 1, f"{archive} should hold one folder, has {sorted(tops)}"
        target = root / tops.pop()
        if target.exists():
            return
        root.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=root))
        try:
            packed.extractall(aside)
            os.replace(aside / target.name, target)
        except OSError:
            # Another test run may have been first; then its folder is as good.
            if not target.exists():
                raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)


@pytest.fixture(scope="session")
def real_data():
    """The folder with the four real data sets, unpacked from the archives beside the project.

    Skips only where there are neither archives nor unpacked sets; archives that can't be read
    fail.
    """
    root = default_data_root()
    if not ARCHIVES.exists():
        missing = [name for name in SETS if not (root / name).is_dir()]
        if missing:
            pytest.skip(f"no real faces: no {ARCHIVES}, and {root} lacks {', '.join(missing)}")
        return root
    archives = sorted(ARCHIVES.glob("*.zip"))
    if not archives:
        pytest.fail(f"{ARCHIVES} holds no archive")
    for archive in archives:
        try:
            unpack_once(archive, root)
        except (OSError, zipfile.BadZipFile) as error:
            pytest.fail(f"{archive} can't be unpacked to {root}: {error}")
    return root


@pytest.fixture(scope="session")
def faces(tmp_path_factory):
    """A folder of 24 smooth random images, each of another brightness."""
    folder = tmp_path_factory.mktemp("faces")
    draw = np.random.default_rng(0)
    for i in range(24):
        coarse = Image.fromarray(draw.integers(0, 256, (5, 5, 3), dtype=np.uint8))
        coarse.resize((40, 40), Image.Resampling.BICUBIC).save(folder / f"{i:02d}.png")
    return folder
