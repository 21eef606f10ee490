"""`ssl-faces prepare`: from photos and videos to a pack that trains; and bad input."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from ssl_faces.cli import main
from ssl_faces.data.store.packs import Pack
from ssl_faces.data.store.stored_faces import StoredFaces
from ssl_faces.prepare import workers
from ssl_faces.prepare.reading import Settings
from ssl_faces.prepare.sources import Source
from tests.prepare.dying import no_detector, read_or_die
from tests.support.commands import refusal, run
from tests.support.fits import settings
from tests.support.images import (
    astronaut,
    bad_folder,
    faces_at,
    head,
    scene,
    write_gif,
    write_picture,
    write_video,
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_FACES_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_MODE", "disabled")


def prepare(capsys, *argv):
    """The output of the command."""
    capsys.readouterr()
    assert run("prepare", *argv) == 0
    return capsys.readouterr().out


def manifest(out):
    with (out / "manifest.csv").open() as stream:
        return list(csv.DictReader(stream))


def reasons(out):
    return {row["source"]: row["reason"] for row in manifest(out)}


class Blobs:
    """Detects bright squares of 60 px on black. Their noise makes each another person."""

    def __init__(self):
        self.calls = 0

    def __call__(self, picture):
        self.calls += 1
        rows, columns = np.nonzero(picture[..., 0] >= 100)
        found = {(x // 80 * 80, y // 80 * 80) for x, y in zip(columns, rows, strict=True)}
        return faces_at([(x + 10, y + 10, x + 70, y + 70) for x, y in sorted(found)])


def face(seed):
    """Noise of large grains as the face of nobody, uint8 [60, 60, 3]."""
    draw = np.random.default_rng(seed)
    grains = draw.integers(100, 256, (12, 12, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(grains).resize((60, 60), Image.Resampling.NEAREST))


def on_grid(*people):
    """These people's faces side by side on black, uint8 [80, 80 n, 3]."""
    canvas = np.zeros((80, 80 * len(people), 3), np.uint8)
    for i, person in enumerate(people):
        if person is not None:
            canvas[10:70, 80 * i + 10 : 80 * i + 70] = face(person)
    return canvas


@pytest.fixture
def blobs(monkeypatch):
    detector = Blobs()
    monkeypatch.setattr(workers, "open_detector", lambda name, smallest: detector)
    return detector


def changing(*people, frames):
    """Frames of these people, each of whom changes a little from frame to frame."""
    found = []
    for n in range(frames):
        frame = on_grid(*people).astype(float)
        wave = 70 * np.sin(np.arange(80)[:, None, None] / 12 + n)
        frame = np.where(frame >= 100, np.clip(frame * 0.5 + 100 + wave, 100, 255), 0)
        found.append(frame.astype(np.uint8))
    return found


def test_photos_and_videos_become_a_pack_with_clips(tmp_path, capsys, blobs):
    album = tmp_path / "álbum of mine"
    write_picture(album / "two of us.png", on_grid(1, 2))
    write_picture(album / "nobody.png", on_grid(None))
    film = changing(3, 4, frames=6) + changing(5, 4, frames=6)
    write_video(album / "film.mp4", film, fps=5)
    out = tmp_path / "out"
    text = prepare(capsys, album, "--out", out, "--size", 32, "--workers", 1, "--duplicate-bits", 8)
    rows = manifest(out)
    kept = [row for row in rows if row["kept"] == "yes"]
    assert f"{out}: {len(kept)} faces to train on" in text
    assert {row["clip"] for row in kept if row["source"].endswith("png")} == {""}
    assert reasons(out)["álbum of mine/nobody.png"] == "no face found"
    # The first two people, then another one in the first one's place.
    left = [row for row in rows if row["source"].endswith("mp4") and float(row["left"]) < 80]
    clips = [row["clip"] for row in left]
    assert len(left) == 12
    assert len(set(clips[:6])) == len(set(clips[6:])) == 1
    assert clips[0] != clips[6]
    # The pack holds just the kept ones; frames of a clip are a person's, photos are nobody's.
    pack = Pack(out, tmp_path / "cache")
    pack.verify(again=True)
    (about,) = pack.index.sets
    assert about["people"] is True
    keys = pack.index.images.key_list()
    people = dict(zip(keys, pack.index.images.people.tolist(), strict=True))
    images = dict(zip(keys, pack.open(0), strict=True))
    assert set(people) == {row["face"] for row in kept}
    assert all((people[row["face"]] < 0) == (row["clip"] == "") for row in kept)
    by_clip = {row["clip"]: people[row["face"]] for row in kept if row["clip"]}
    assert all(people[row["face"]] == by_clip[row["clip"]] for row in kept if row["clip"])
    assert len(set(by_clip.values())) == len(by_clip)
    first = images["álbum of mine/two of us.png#0"]
    assert first.shape == (3, 32, 32)
    # Its pixels are the face's: as dark and bright as it, where the box was.
    assert abs(float(first.mean()) - float(face(1).mean())) < 25
    assert Image.open(out / "contact_sheet.png").format == "PNG"


def test_a_second_run_reads_nothing_and_changes_nothing(tmp_path, capsys, blobs):
    album = tmp_path / "album"
    for i in range(4):
        write_picture(album / f"{i}.png", on_grid(i))
    out = tmp_path / "out"
    arguments = (album, "--out", out, "--size", 32, "--workers", 1)
    prepare(capsys, *arguments)
    before = {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()}
    calls = blobs.calls
    text = prepare(capsys, album, "--out", out)  # with the settings of before
    assert "4 faces to train on, 0 of them new" in text
    assert blobs.calls == calls
    assert {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()} == before
    write_picture(album / "2.png", on_grid(20))
    write_picture(album / "new.png", on_grid(21))
    (album / "3.png").unlink()
    text = prepare(capsys, *arguments)
    assert blobs.calls == calls + 2
    assert "4 faces to train on, 2 of them new" in text
    # From nowhere it is the same, but for the pack's older shard.
    prepare(capsys, album, "--out", tmp_path / "anew", "--size", 32, "--workers", 1)
    assert (tmp_path / "anew/manifest.csv").read_bytes() == (out / "manifest.csv").read_bytes()
    # Another folder comes to what is there.
    write_picture(tmp_path / "more" / "a.png", on_grid(30))
    text = prepare(capsys, tmp_path / "more", "--out", out)
    assert "5 faces to train on, 1 of them new" in text


def test_resuming_equals_an_uninterrupted_run(tmp_path, capsys, blobs, monkeypatch):
    album = tmp_path / "album"
    for i in range(5):
        write_picture(album / f"{i}.png", on_grid(i))
    prepare(capsys, album, "--out", tmp_path / "whole", "--size", 32, "--workers", 1)
    real = workers.read_source

    def dies(source, *others):
        if source.key == "album/3.png":
            raise KeyboardInterrupt
        return real(source, *others)

    monkeypatch.setattr(workers, "read_source", dies)
    arguments = ["prepare", str(album), "--out", str(tmp_path / "out"), "--size", "32"]
    assert main([*arguments, "--workers", "1"]) == 130
    assert not (tmp_path / "out/index.json").exists()
    monkeypatch.setattr(workers, "read_source", real)
    calls = blobs.calls
    assert main([*arguments, "--workers", "1"]) == 0
    assert blobs.calls == calls + 2
    for path in ("manifest.csv", "contact_sheet.png"):
        assert (tmp_path / "out" / path).read_bytes() == (tmp_path / "whole" / path).read_bytes()
    one, other = (Pack(tmp_path / name, tmp_path / "cache") for name in ("out", "whole"))
    assert [s.pictures for s in one.index.shards] == [s.pictures for s in other.index.shards]


def test_small_blurred_and_double_faces_are_left_out_and_counted(tmp_path, capsys):
    """By the real detector."""
    album = tmp_path / "album"
    write_picture(album / "a.png", astronaut())
    again = Image.fromarray(astronaut()).resize((400, 400))
    write_picture(album / "b.jpg", np.asarray(again), quality=50)
    write_picture(album / "small.png", scene([(head(60), 20, 20), (head(200), 100, 20)]))
    blurred = np.asarray(Image.fromarray(head(200)).resize((25, 25)).resize((200, 200)))
    write_picture(album / "soft.png", scene([(blurred, 20, 20)]))
    out = tmp_path / "out"
    text = prepare(capsys, album, "--out", out, "--workers", 1, "--min-score", 0.8)
    assert "1 face to train on" in text
    found = [(row["source"], row["reason"]) for row in manifest(out)]
    assert ("album/a.png", "") in found
    assert ("album/b.jpg", "near-duplicate of album/a.png#0") in found
    assert ("album/small.png", "near-duplicate of album/a.png#0") in found
    assert any(s == "album/soft.png" and r.startswith("blurred: sharpness 0.0") for s, r in found)
    assert "near-duplicate 2" in text
    assert "blurred 1" in text
    text = prepare(
        *(capsys, album, "--out", tmp_path / "all", "--workers", 1, "--min-score", 0.8),
        *("--duplicate-bits", -1, "--min-sharpness", 0),
    )
    assert "4 faces to train on" in text
    prepare(capsys, album, "--out", tmp_path / "few", "--workers", 1, "--min-face", 80, "--fps", 1)
    assert reasons(tmp_path / "few")["album/b.jpg"].startswith("too small: ")


def test_bad_files_are_rows_of_the_manifest(tmp_path, capsys, blobs):
    album, out = tmp_path / "album", tmp_path / "out"
    write_picture(album / "good one é.png", on_grid(1))
    expected = bad_folder(album)
    write_video(album / "nobody.mp4", [on_grid(None)] * 4)
    write_gif(album / "a.gif", [on_grid(7 + i) for i in range(3)], 300)
    prepare(capsys, album, "--out", out, "--size", 32, "--workers", 1)
    of_good = {"good one é.png": "", "a.gif": "", "nobody.mp4": "no face found"}
    actual = {key.removeprefix("album/"): reason for key, reason in reasons(out).items()}
    assert actual.keys() == expected.keys() | of_good.keys() | {"gut ü 脸.png", r"bytes \udcff.png"}
    for name, reason in {**expected, **of_good}.items():
        assert reason in actual[name], name
        assert bool(actual[name]) == bool(reason), name
    kinds = [row["kind"] for row in manifest(out) if row["source"] == "album/a.gif"]
    assert kinds == ["video"] * 3


def test_no_face_at_all_is_one_sentence_and_no_pack(tmp_path, capsys, blobs):
    write_picture(tmp_path / "album" / "a.png", on_grid(None))
    (tmp_path / "album" / "b.jpg").write_text("words")
    out = tmp_path / "out"
    text = refusal(
        capsys, "prepare", tmp_path / "album", "--out", out, "--size", 32, "--workers", 1
    )
    assert "no face to train on in 2 files (no face found 1, no picture or video" in text
    assert str(out / "manifest.csv") in text
    assert len(manifest(out)) == 2
    assert not (out / "index.json").exists()
    assert not list(out.glob("shard*"))


def test_folders_made_with_other_settings_are_left_alone(tmp_path, capsys, blobs):
    album, out = tmp_path / "album", tmp_path / "out"
    write_picture(album / "a.png", on_grid(1))
    prepare(capsys, album, "--out", out, "--size", 32, "--workers", 1)
    text = refusal(capsys, "prepare", album, "--out", out, "--size", 64)
    assert "was made with --size 32, not 64; give that, or another --out" in text
    write_picture(tmp_path / "other" / "album" / "a.png", on_grid(1))
    text = refusal(capsys, "prepare", tmp_path / "other" / "album", "--out", out)
    assert "which has the same name, was prepared to this folder; rename one" in text
    (out / "prepare.json").write_text("{}")
    assert "not written by prepare" in refusal(capsys, "prepare", album, "--out", out)
    (out / "prepare.json").unlink()
    assert "index.json: not written by" in refusal(capsys, "prepare", album, "--out", out)


@pytest.mark.parametrize("kind", ["cut", "flipped"])
def test_a_broken_store_is_read_anew(kind, tmp_path, capsys, blobs):
    album, out = tmp_path / "album", tmp_path / "out"
    for i in range(2):
        write_picture(album / f"{i}.png", on_grid(i))
    prepare(capsys, album, "--out", out, "--size", 32, "--workers", 1)
    calls = blobs.calls
    for path in (out / "sources").iterdir():
        data = bytearray(path.read_bytes())
        data[-1000] ^= 1  # in its crops
        path.write_bytes(data[:50] if kind == "cut" else data)
    text = prepare(capsys, album, "--out", out, "--workers", 1)
    assert blobs.calls == calls + 2
    assert "2 faces to train on, 0 of them new" in text


def test_two_workers_find_what_one_does(tmp_path, capsys):
    """In real processes, with the real detector."""
    album = tmp_path / "album"
    write_picture(album / "a.png", astronaut())
    write_picture(album / "b.png", np.ascontiguousarray(astronaut()[:, ::-1]))
    for workers_ in (1, 2):
        out = tmp_path / str(workers_)
        assert "2 faces to train on" in prepare(capsys, album, "--out", out, "--workers", workers_)
    assert (tmp_path / "1/manifest.csv").read_bytes() == (tmp_path / "2/manifest.csv").read_bytes()


def test_a_file_that_crashes_its_reader_is_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "_read", read_or_die)
    # Neither loads torch, so that forking is safe, and much faster.
    monkeypatch.setattr(workers, "_start", no_detector)
    monkeypatch.setattr(workers, "_START", "fork")
    names = ("a.png", "killer.png", "z.png")
    sources = [Source(name, write_picture(tmp_path / name, on_grid(None))) for name in names]
    found = {s.key: f.rows[0].reason for s, f in workers.read_all(sources, Settings(), 2)}
    assert found["killer.png"].startswith("brings its reader down")
    assert found["a.png"] == found["z.png"] == "no face found"


def test_a_run_from_what_was_prepared(tmp_path, capsys, blobs):
    """Two steps of training, on pairs of frames of a clip."""
    album, out = tmp_path / "album", tmp_path / "prepared"
    for i in range(10):
        write_picture(album / f"{i}.png", on_grid(i))
    write_video(album / "film.mp4", changing(11, 12, frames=6), fps=5)
    prepare(capsys, album, "--out", out, "--size", 32, "--workers", 1, "--duplicate-bits", 4)
    stored = StoredFaces([Pack(out, tmp_path / "cache")])
    _, people = stored.listed(np.arange(len(stored.counts)))
    assert 2 < (people >= 0).sum() < len(people)
    arguments = settings("motion", album, tmp_path / "run", "--data.packs", str(out))
    at = arguments.index("--data.root")
    del arguments[at : at + 2]
    arguments[arguments.index("--trainer.max_steps") + 1] = "2"
    assert main(arguments) == 0
    card = json.loads((tmp_path / "run" / "encoder" / "card.json").read_text())
    (about,) = card["data"]
    assert about["name"] == "prepared"
    assert about["pictures"] == len(people)
