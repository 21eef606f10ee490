"""`linear-probe threshold`: the mean and the threshold of all of LFW's pairs, in a card."""

import json

import numpy as np
import torch
from PIL import Image

from linear_probe.cli import main
from ssl_faces import load_encoder, save_encoder
from ssl_faces.apps.embedding import verification_of
from ssl_faces.networks.backbone import BackboneEncoder
from tests.support.small_sets import write_lfw


def test_no_other_threshold_is_more_accurate(tmp_path, capsys):
    torch.manual_seed(0)
    made = BackboneEncoder("resnet18", 32, 0.125, {"identity": 8})
    folder = save_encoder(made, tmp_path / "encoder", {"records": [], "limits": ["a"]})
    data = write_lfw(tmp_path / "data").parent
    assert main(["threshold", str(folder), "--data", str(data)]) == 0
    assert "mean of 24 pictures and the most accurate threshold on 24 pairs" in (
        capsys.readouterr().out
    )
    encoder = load_encoder(folder)
    assert encoder.card["limits"] == ["a"]
    kept = verification_of(encoder)
    assert kept is not None

    paths = sorted((data / "lfw").glob("*/*.png"))
    pixels = np.stack([np.asarray(Image.open(p).convert("RGB").resize((32, 32), 2)) for p in paths])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    codes = {p.stem: x for p, x in zip(paths, encoder(images)["identity"].double(), strict=True)}
    mean = torch.stack(list(codes.values())).mean(0)
    torch.testing.assert_close(kept.mean, mean, atol=1e-5, rtol=0)
    similarities, same = [], []
    for line in (data / "lfw/pairs.txt").read_text().splitlines()[1:]:
        words = line.split("\t")
        one = f"{words[0]}_{int(words[1]):04d}"
        name, number = (words[0], words[2]) if len(words) == 3 else (words[2], words[3])
        a, b = codes[one] - mean, codes[f"{name}_{int(number):04d}"] - mean
        similarities.append(float(a @ b / a.norm() / b.norm()))
        same.append(len(words) == 3)
    x, y = np.array(similarities), np.array(same)
    reached = ((x >= kept.threshold) == y).mean()
    assert reached == max(((x >= t) == y).mean() for t in (*x, 2.0))
    assert reached > 0.6


def test_refused(tmp_path, capsys):
    bare = save_encoder(BackboneEncoder("resnet18", 32, 0.125), tmp_path / "bare", {})
    assert main(["threshold", str(bare), "--data", str(tmp_path)]) == 2
    assert "has no space 'identity'" in capsys.readouterr().err
    made = BackboneEncoder("resnet18", 32, 0.125, {"identity": 8})
    folder = save_encoder(made, tmp_path / "encoder", {})
    before = (folder / "card.json").read_text()
    (tmp_path / "data").mkdir()
    Image.new("RGB", (40, 40)).save(tmp_path / "data/a.png")
    assert main(["threshold", str(folder), "--data", str(tmp_path / "data")]) == 2
    assert "holds no LFW with pairs.txt" in capsys.readouterr().err
    assert json.loads(before) == json.loads((folder / "card.json").read_text())
