"""Codes of the user's own images: the API, embed, verify and gallery."""

import csv
import json
import re
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from linear_probe.sources.table import EmbeddingTable
from ssl_faces import InputError, embed, load_encoder, save_encoder, similarity
from ssl_faces.apps.gallery import nearest
from ssl_faces.apps.verify import accuracy_of
from tests.support.commands import refusal, run
from tests.support.images import as_images, bad_folder, photo, rendered, write_all, write_video


def test_embed_gives_the_encoders_codes_of_the_largest_faces(encoder_folder, stub, tmp_path):
    encoder = load_encoder(encoder_folder)
    crops = rendered(3)
    paths = write_all(tmp_path, crops)
    codes = embed(encoder, [paths[0], str(paths[1]), crops[2]], batch_size=2)
    torch.testing.assert_close(dict(codes), encoder(as_images(crops)))
    assert [face.key for face in codes.faces] == ["face 0.png", "face 1.png", "image 2"]
    (only,) = embed(encoder_folder, photo((40, 30, 60)), spaces=["identity"])
    assert only == "identity"
    for picture, message in (
        (photo(), "image 0: no face found"),
        (tmp_path / "no.png", "no.png: No such file"),
        (crops[0] / 255, r"image 0: float64 \[32, 32, 3\]; give uint8 RGB"),
        (np.zeros((0, 5, 3), np.uint8), r"image 0: uint8 \[0, 5, 3\]; give uint8 RGB"),
    ):
        with pytest.raises(InputError, match=message):
            embed(encoder, [picture])
    with pytest.raises(InputError, match="no source; give at least one"):
        embed(encoder, [])
    with pytest.raises(InputError, match="no space 'colour'; it has pooled"):
        embed(encoder, [crops[0]], spaces=["colour"])


def test_embed_in_python_equals_the_command(encoder_folder, stub, tmp_path, caplog):
    bad_folder(tmp_path / "in")
    crops = write_all(tmp_path / "in/faces", rendered(2))
    write_video(tmp_path / "in/film.mp4", list(rendered(3, 64)), fps=1)
    two_faces = Image.fromarray(photo((40, 30, 70), (180, 90, 60)))
    two_faces.save(tmp_path / "in/two.png")
    out = tmp_path / "codes.parquet"
    assert run("embed", tmp_path / "in", "--out", out, "--encoder", encoder_folder) == 0
    codes = embed(encoder_folder, tmp_path / "in")
    table = codes.frame()
    stored = pd.read_parquet(out).rename(columns=lambda name: name.removeprefix("__"))
    pd.testing.assert_frame_equal(table, stored, check_dtype=False)
    assert [key for key in table.key if "two" in key] == ["in/two.png", "in/two.png#1"]
    assert table.set_index("key").left.notna().sum() == 2
    assert table.time.max() == 2
    rows = list(csv.DictReader((tmp_path / "codes.parquet.skipped.csv").open()))
    assert [(s.key, s.reason) for s in codes.skipped] == [(r["picture"], r["reason"]) for r in rows]
    assert f"skipped {len(rows)} files" in caplog.text
    with pytest.raises(InputError, match=re.escape(f"{codes.skipped[0].key}: ")):
        embed(encoder_folder, tmp_path / "in", strict=True)
    # Files of one name keep their paths.
    again = tmp_path / "again" / crops[0].name
    again.parent.mkdir()
    again.write_bytes(crops[0].read_bytes())
    given = embed(encoder_folder, [crops[0], again, tmp_path / "in/two.png"], largest=True)
    assert [face.key for face in given.faces] == [str(crops[0]), str(again), "two.png"]


def test_similarity_is_the_cosine_less_the_cards_mean(encoder_folder):
    encoder = load_encoder(encoder_folder)
    codes = embed(encoder, list(rendered(4)))
    found = similarity(encoder, codes)
    mean = {"identity": np.array(encoder.card["verification"]["mean"])}
    for space, values in codes.items():
        x = values.double().numpy() - mean.get(space, 0)
        for i in range(4):
            for j in range(4):
                cosine = x[i] @ x[j] / np.sqrt((x[i] @ x[i]) * (x[j] @ x[j]))
                assert found[space][i, j] == pytest.approx(cosine)
    encoder.card["verification"]["mean"] = [1.0]
    with pytest.raises(InputError, match="'verification' can't be used"):
        similarity(encoder, codes)


def test_the_table_is_one_that_linear_probe_reads(encoder_folder, tmp_path, capsys):
    bad_folder(tmp_path / "in")
    paths = write_all(tmp_path / "in/faces", rendered(3))
    write_video(tmp_path / "in/film.mp4", list(rendered(2, 64)), fps=1)
    tables = {}
    for name in ("a.npz", "a.parquet"):
        out = tmp_path / name
        assert run("embed", tmp_path / "in", "--out", out, "--encoder", encoder_folder) == 0
        summary = "7 faces of 15 files; pooled 64, map_2x2 256, expression 8, identity 6"
        assert f"{out}: {summary}" in capsys.readouterr().out
        tables[name] = EmbeddingTable(str(out))
        rows = list(csv.DictReader((tmp_path / f"{name}.skipped.csv").open()))
        assert len(rows) == 9
        assert all(row["reason"] for row in rows)
    expected = embed(load_encoder(encoder_folder), list(paths))
    for table in tables.values():
        assert table.dims == {"pooled": 64, "map_2x2": 256, "expression": 8, "identity": 6}
        rows = [table._row_of[f"in/faces/face {i}.png"] for i in range(3)]
        for space, codes in expected.items():
            torch.testing.assert_close(table._values[space][rows], codes)
    with np.load(tmp_path / "a.npz") as kept:
        keys = kept["keys"].tolist()
        assert kept["__source"][keys.index("in/film.mp4#frame1")] == "in/film.mp4"
        assert kept["__time"][keys.index("in/film.mp4#frame1")] == 1
        assert np.isnan(kept["__box"]).all()
    # A run that skips nothing removes the list of an earlier one.
    again = ("--out", tmp_path / "a.npz", "--overwrite")
    assert run("embed", paths[0], *again, "--encoder", encoder_folder) == 0
    assert not (tmp_path / "a.npz.skipped.csv").exists()


def test_verify_decides_by_the_cards_threshold(encoder_folder, tmp_path, capsys):
    paths = write_all(tmp_path / "in", rendered(4))
    encoder = load_encoder(encoder_folder)
    alike = similarity(encoder, embed(encoder, list(paths)))["identity"]
    out = tmp_path / "pairs.csv"
    words = ("verify", paths[0], tmp_path / "in", "--encoder", encoder_folder, "--out", out)
    assert run(*words) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert lines == [
        f"face 0.png  in/face {i}.png  similarity {alike[0, i]:.3f}: "
        f"{'same' if alike[0, i] >= 0.25 else 'different'} (threshold 0.250)"
        for i in range(4)
    ]
    assert lines[0].endswith("similarity 1.000: same (threshold 0.250)")
    assert "right in 61.2 % [58.0, 64.5] of 900 pairs of LFW (chance: 50 %)" in last
    assert "not for deciding about people" in last
    rows = list(csv.DictReader(out.open()))
    assert rows[0]["decision"] == "same"
    assert float(rows[2]["similarity"]) == pytest.approx(float(alike[0, 2]), abs=1e-4)


def test_verify_without_a_threshold(encoder_folder, tmp_path, capsys):
    bare = save_encoder(load_encoder(encoder_folder), tmp_path / "bare", {})
    first, second = write_all(tmp_path / "in", rendered(2))
    assert run("verify", first, second, "--encoder", bare) == 0
    printed = capsys.readouterr().out
    assert "same" not in printed
    assert "has none in its card" in printed
    assert "the accuracy of this encoder is not known" in printed


def test_nearest_equals_a_loop():
    draw = torch.Generator().manual_seed(0)
    codes = torch.randn(30, 5, generator=draw)
    films = [None if i < 20 else f"film {i // 5}" for i in range(30)]
    x = (codes - codes.mean(0)).numpy()
    for i, neighbours in enumerate(nearest(codes, 4, films, codes.double().mean(0))):
        cosines = {
            j: x[i] @ x[j] / np.linalg.norm(x[i]) / np.linalg.norm(x[j])
            for j in range(30)
            if j != i and (films[i] is None or films[i] != films[j])
        }
        best = sorted(cosines, key=cosines.__getitem__, reverse=True)[:4]
        assert [j for j, _ in neighbours] == best
        assert [s for _, s in neighbours] == pytest.approx([cosines[j] for j in best], abs=1e-3)
    assert [len(of) for of in nearest(codes[:3], 8, None, codes[0])] == [2, 2, 2]


def test_the_gallery_is_one_page_with_its_pictures(encoder_folder, tmp_path, capsys, monkeypatch):
    paths = write_all(tmp_path / "in", rendered(5))
    paths[0].rename(tmp_path / "in" / "a <script>'\" face.png")
    out = tmp_path / "a.html"
    words = ("gallery", tmp_path / "in", "--out", out, "--encoder", encoder_folder)
    assert run(*words, "--nearest", "2") == 0
    text = out.read_text()
    assert not re.search(r"(src|href)=[\"']?http", text)
    data = json.loads(text.split('id="data">')[1].split("</script>")[0])
    assert data["names"][0] == "in/a <script>'\" face.png"
    assert text.count("<script") == 2
    assert len(data["faces"]) == 5
    encoder = load_encoder(encoder_folder)
    codes = embed(encoder, sorted((tmp_path / "in").iterdir()))
    # Compared as by `similarity`: minus their own mean, the codes of two would be opposite.
    assert "these faces are too few" in text
    for space, values in similarity(encoder, codes).items():
        best, places = values.fill_diagonal_(-2).topk(2)
        shown = np.array(data["spaces"].get(space, torch.stack([places, best], 2)))
        np.testing.assert_allclose(shown, torch.stack([places, best], 2), atol=1e-3)
    monkeypatch.setattr("ssl_faces.apps.face_page.MOST_FACES", 4)
    assert "more than 4 faces, too many for a page" in refusal(capsys, *words, "--overwrite")
    assert out.read_text() == text


def record(data_set, value):
    return {
        **{"task": "identity", "metric": "accuracy", "probe": "cosine similarity"},
        **{"feature_space": "identity", "data_set": data_set, "value": value},
        **{"low": value - 1, "high": value + 1, "n": 100},
    }


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([record("CFP frontal-profile", 55), record("LFW", 65)], "65.0 % [64.0, 66.0] of 100"),
        ([record("CFP frontal-profile", 55), {"task": "pose"}], "55.0 % [54.0, 56.0] of 100"),
        ([], ""),
    ],
)
def test_it_is_that_of_the_thresholds_set(records, expected):
    sentence = accuracy_of(cast(Any, SimpleNamespace(card={"records": records})))
    assert expected in sentence
    assert bool(sentence) == bool(expected)
