"""The commands on the user's own images, as the pages give them, run where their files would be."""

import itertools
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.heads import SMALL
from tests.support.images import astronaut, head, scene, write_video
from tests.support.in_process import MAIN
from tests.support.pages import ROOT, commands, section
from tests.support.probing import own_images


def run(command, more, capsys):
    """Run a command of a page; its --out, --plot and --film must be there afterwards."""
    program, *words = shlex.split(command)
    words = [str(ROOT / word) if word.startswith("configs/") else word for word in words]
    assert MAIN[program]([*words, *more]) == 0, f"{command}: {capsys.readouterr().err}"
    for option, place in itertools.pairwise(words):
        if option in ("--out", "--plot", "--film"):
            assert Path(place).exists(), command


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("PHOTOS").mkdir()
    for i, pixels in enumerate((astronaut(), astronaut()[:, ::-1], head(300))):
        Image.fromarray(np.ascontiguousarray(pixels)).save(f"PHOTOS/{i}.jpg", quality=95)
    for name in ("ONE.jpg", "OTHER.jpg"):
        Image.fromarray(astronaut()).save(name)
    frames = [scene([(head(180), 20 + 2 * i, 30)]) for i in range(6)]
    write_video(Path("FILM.mp4"), frames)


@pytest.mark.parametrize(
    ("page", "title"),
    [
        ("README.md", "Sixty seconds"),
        ("ssl_faces/apps/README.md", "Embed, verify, edit"),
        ("ssl_faces/apps/README.md", "Expression probabilities"),
        ("ssl_faces/apps/README.md", "Find people"),
    ],
)
def test_with_released_encoders(page, title, photos, capsys):
    lines = commands(section(page, title))
    lines = [line for line in lines if "--overwrite" not in line]  # would replace the released one
    assert len(lines) >= 2
    for line in lines:
        run(line, [], capsys)


@pytest.mark.parametrize("title", ["Your own classes", "Use a trained head"])
def test_the_probes_page(title, photos, capsys):
    own_images(Path("OWN"), ("hat", "no hat"))
    small = [*SMALL[SMALL.index("--head.init_args.width") :], "--training.epochs", "1"]
    lines = commands(section("linear_probe/README.md", title))
    assert len(lines) >= 2
    for line in lines:
        more = small if line.startswith("linear-probe head") else []
        run(line, [*more, *(["--data", "rendered"] if " export " in line else [])], capsys)
