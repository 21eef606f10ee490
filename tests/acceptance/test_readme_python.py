"""The README's Python: the lines as they stand there, run where a reader would have two photos."""

import re
from pathlib import Path

from PIL import Image

from tests.support.images import astronaut

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_the_three_lines(tmp_path, monkeypatch, capsys):
    (block,) = (b for b in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "embed" in b)
    lines = [line for line in block.splitlines() if line and "import" not in line]
    assert len(lines) == 3
    for name, pixels in (("one.jpg", astronaut()), ("other.jpg", astronaut()[:, ::-1])):
        Image.fromarray(pixels).save(tmp_path / name, quality=95)
    monkeypatch.chdir(tmp_path)
    found = {}
    exec(block, found)
    printed = re.search(r"-?\d\.\d+", capsys.readouterr().out)
    # A person's mirror image.
    assert 0.5 < float(printed[0]) < 1
    codes = found["codes"]
    assert codes["expression"].shape == (2, 512)
