"""`ssl-faces cluster` and `search`: groups and matches of people, on rendered ones."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import adjusted_rand_score

from linear_probe.features.frozen import Features
from linear_probe.tasks.identification import Identification
from ssl_faces import InputError, embed, load_encoder
from ssl_faces.apps.embedding import identification_of
from ssl_faces.apps.grouping import cut, group_tree
from ssl_faces.encoders.encoder import update_card
from ssl_faces.encoders.places import RELEASED
from ssl_faces.rendered import RenderedFaces
from tests.support.commands import refusal, run
from tests.support.images import photo, rendered, write_all, write_picture, write_video


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def finder(encoder_folder, tmp_path):
    """An encoder whose card says how to find people."""
    folder = shutil.copytree(encoder_folder, tmp_path / "encoder")
    rate = {"value": 30.0, "low": 20.0, "high": 40.0}
    rates = [
        {"gallery": size, "n": 90, **dict.fromkeys(("rank_1", "rank_5", "tpir", "fpir"), rate)}
        for size in (10, 100)
    ]
    entry = {"space": "identity", "mean": [0.1] * 6, "threshold": 0.5, "distance": 0.3}
    update_card(folder, identification={**entry, "chosen_on": "a test", "rates": rates})
    return folder


# Groups -------------------------------------------------------------------------------------------


def test_groups_are_those_of_a_loop():
    codes = torch.randn(12, 4, generator=torch.Generator().manual_seed(1))
    mean = torch.full((4,), 0.1)
    x = torch.nn.functional.normalize(codes.double() - mean, dim=1)
    apart = 1 - x @ x.T
    groups = [[i] for i in range(12)]
    while len(groups) > 1:
        pairs = [
            (float(apart[a][:, b].mean()), i, j)
            for i, a in enumerate(groups)
            for j, b in enumerate(groups[:i])
        ]
        least, i, j = min(pairs)
        if least > 0.6:
            break
        groups[j] += groups.pop(i)
    expected = np.zeros(12, int)
    for number, group in enumerate(groups):
        expected[group] = number
    found = cut(group_tree(codes, mean), 0.6)
    assert adjusted_rand_score(expected, found) == 1
    assert (np.diff(np.bincount(found)) <= 0).all()


def test_rendered_people_are_grouped(tmp_path, capsys):
    """The distance is chosen on some people, and other people are grouped by it."""
    folder = shutil.copytree(RELEASED / "facecycle", tmp_path / "facecycle")
    encoder = load_encoder(folder)
    faces = RenderedFaces(2000, 280, "all", size=encoder.input_size, nuisances="none")
    task = Identification([faces], replicates=1)
    pictures = faces.render_batch(task.indices.tolist())
    codes = torch.cat(
        [encoder(x.float() / 255, ["identity"])["identity"] for x in pictures.split(64)]
    )
    chosen = task.choose(Features(codes, task.indices))
    entry = {"space": "identity", "mean": chosen.mean.tolist(), "threshold": chosen.threshold}
    more = {"distance": chosen.distance, "chosen_on": "rendered people", "rates": []}
    update_card(folder, identification=entry | more)
    scored = set(task.scored().tolist())
    for i, picture in zip(task.indices.tolist(), pictures, strict=True):
        if i in scored:
            place = tmp_path / f"in/{faces.records[i].person}/{i}.png"
            write_picture(place, picture.permute(1, 2, 0).numpy())
    out = tmp_path / "groups.csv"
    assert run("cluster", tmp_path / "in", "--encoder", folder, "--out", out) == 0
    assert "chosen on rendered people" in capsys.readouterr().out
    rows = rows_of(out)
    people = [row["key"].split("/")[1] for row in rows]
    assert len(set(people)) >= 10
    assert adjusted_rand_score(people, [row["group"] for row in rows]) > 0.3


def test_tracks_are_units_and_the_page_shows_groups(finder, stub, tmp_path, capsys):
    frames = [photo((26, 40, 80), (200, 60, 60)) for _ in range(4)]
    write_video(tmp_path / "in/film.mkv", frames, 10, "ffv1")
    write_all(tmp_path / "in", rendered(3))
    (tmp_path / "in/x.svg").write_text("<svg/>")
    words = ["cluster", tmp_path / "in", "--encoder", finder, "--fps", "10", "--out"]
    assert run(*words, tmp_path / "a.parquet") == 0
    assert run(*words, tmp_path / "a.csv") == 0
    assert "11 faces of 5 files" in capsys.readouterr().out
    of_track = {}
    for row in rows_of(tmp_path / "a.csv"):
        if row["track"]:
            of_track.setdefault(row["track"], set()).add(row["group"])
    assert [len(groups) for groups in of_track.values()] == [1, 1]
    assert len(rows_of(tmp_path / "a.csv.skipped.csv")) == 1
    assert run(*words, tmp_path / "a.html", "--distance", "2") == 0
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "Group 0: 11 faces" in page
    assert page.count("data:image/jpeg") == 11
    assert "does not prove" in page


# Search -------------------------------------------------------------------------------------------


def test_the_nearest_are_those_of_all_similarities(finder, tmp_path, capsys):
    crops = rendered(40, seed=2)
    paths = write_all(tmp_path / "in", crops)
    index = tmp_path / "index"
    words = ["search", "index", tmp_path / "in", "--encoder", finder, "--out", index]
    assert run(*words) == 0
    assert "40 faces of 40 files" in capsys.readouterr().out
    asked = rendered(3, seed=5)
    (tmp_path / "asked").mkdir()
    queries = write_all(tmp_path / "asked", asked)
    out = tmp_path / "found.csv"
    assert run("search", "query", index, *queries, paths[7], "--out", out, "--nearest", "4") == 0
    printed = capsys.readouterr().out
    assert "measured in galleries of 10: the right person comes first for 30.0 %" in printed
    assert "30.0 % [20.0, 40.0] of unknown people have a match above the threshold" in printed
    rows = rows_of(out)
    codes = embed(load_encoder(finder), [*asked, *crops])["identity"].double() - 0.1
    x = torch.nn.functional.normalize(codes, dim=1)
    similar = x[:3] @ x[3:].T
    for i in range(3):
        best = similar[i].topk(4)
        mine = [row for row in rows if row["query"] == f"face {i}.png"][:4]
        assert [row["key"] for row in mine] == [f"in/face {j}.png" for j in best.indices.tolist()]
        values = [float(row["similarity"]) for row in mine]
        assert values == pytest.approx(best.values.tolist(), abs=1e-5)
        above = [value >= 0.5 for value in best.values.tolist()]
        assert [row["above_threshold"] == "1" for row in mine] == above
    page = tmp_path / "found.html"
    assert run("search", "query", index, *queries, "--out", page) == 0
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/jpeg") == 3 * (1 + 5)
    assert "30.0 % [20.0, 40.0]" in text
    # An index is replaced only on request.
    assert "exists already" in refusal(capsys, *words)
    assert run(*words, "--overwrite") == 0


def test_indexes_that_are_not_whole(finder, tmp_path, capsys):
    (path, *_) = write_all(tmp_path / "in", rendered(4))
    index = tmp_path / "index"
    make = ("search", "index", tmp_path / "in", "--encoder", finder, "--out", index)
    query = ("search", "query", index, path, "--out", tmp_path / "x.csv")
    assert "no index of faces there" in refusal(capsys, *query)
    assert run(*make) == 0
    kept = (index / "index.faiss").read_bytes()
    (index / "index.faiss").write_bytes(kept[:-1] + b"x")
    assert "index.faiss has other bytes than were written" in refusal(capsys, *query)
    (index / "index.faiss").write_bytes(kept)
    about = json.loads((index / "about.json").read_text())
    (index / "about.json").write_text(json.dumps(about | {"encoder_sha256": "0"}))
    assert "was made by other weights" in refusal(capsys, *query)
    (index / "about.json").write_text("[]")
    assert "no whole index" in refusal(capsys, *query)
    assert not (tmp_path / "x.csv").exists()
    mine = tmp_path / "mine"
    write_picture(mine / "a.png", np.zeros((16, 16, 3), np.uint8))
    assert "no index; give a new folder" in refusal(capsys, *make[:-1], mine, "--overwrite")
    assert Image.open(mine / "a.png").size == (16, 16)


def test_a_card_that_can_not_be_used(encoder_folder):
    encoder = load_encoder(encoder_folder)
    assert identification_of(encoder) is None
    entry = {"space": "identity", "mean": [0.0] * 6, "threshold": 0.5, "distance": 0.4}
    encoder.card["identification"] = {**entry, "chosen_on": "a test", "rates": []}
    known = identification_of(encoder)
    assert (known.threshold, known.distance, known.description) == (0.5, 0.4, "a test")
    for wrong in ({"mean": [0.0]}, {"threshold": float("nan")}, {"space": "no"}, {"rates": None}):
        encoder.card["identification"] = {**entry, "chosen_on": "", "rates": [], **wrong}
        with pytest.raises(InputError, match="'identification' can't be used"):
            identification_of(encoder)
