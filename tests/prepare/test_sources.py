"""Kinds of files, whatever their names, and the frames of whole and broken videos."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest

from ssl_faces.common.errors import InputError
from ssl_faces.data.pictures import BadImage
from ssl_faces.prepare import sources
from ssl_faces.prepare.sources import Video, kind_of, list_sources, version_of
from tests.support.images import write_gif, write_picture, write_video, zip_bomb

GREY = np.full((48, 64, 3), 90, np.uint8)


def ramp(count):
    """Frames that grow brighter by 10 each."""
    return [np.full((48, 64, 3), 10 * i, np.uint8) for i in range(count)]


def named(place, data):
    place.write_bytes(data)
    return place


def test_the_first_bytes_decide(tmp_path):
    jpeg = write_picture(tmp_path / "a.jpg", GREY).read_bytes()
    film = write_video(tmp_path / "a.mp4", ramp(3)).read_bytes()
    assert kind_of(named(tmp_path / "film.jpg", film)) == "video"
    assert kind_of(named(tmp_path / "photo.mp4", jpeg)) == "picture"
    assert kind_of(named(tmp_path / "no ending", jpeg)) == "picture"
    for ending in ("png", "bmp", "tif", "webp", "ppm"):
        assert kind_of(write_picture(tmp_path / f"a.{ending}", GREY)) == "picture"
    for ending, codec in (
        ("mkv", "mjpeg"),
        ("avi", "mpeg4"),
        ("ts", "mpeg2video"),
        ("mov", "mpeg4"),
    ):
        assert kind_of(write_video(tmp_path / f"a.{ending}", ramp(3), codec=codec)) == "video"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", r"empty \(0 bytes\)"),
        (zip_bomb(), "an archive: it is not opened"),
        (b"\x1f\x8b" + bytes(50), "an archive"),
        (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", "a drawing"),
        (b"\0\0\0\x18ftypheic" + bytes(50), "HEIC or AVIF picture"),
        (b"words of no picture", "no picture or video of a known kind"),
        (b"#EXTM3U\n/etc/passwd\n", "no picture or video of a known kind"),
        (bytes(5000), "no picture or video of a known kind"),
    ],
)
def test_other_files_are_refused(data, reason, tmp_path):
    with pytest.raises(BadImage, match=reason):
        kind_of(named(tmp_path / "x.jpg", data))


def test_pipes_loops_and_missing_files_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(BadImage, match="not a file"):
        kind_of(tmp_path / "pipe.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    with pytest.raises(BadImage, match=r"can't be read .Too many levels"):
        kind_of(tmp_path / "loop.jpg")
    with pytest.raises(BadImage, match=r"can't be read .No such file"):
        kind_of(tmp_path / "none.jpg")


def test_listing(tmp_path):
    """Circular links end; hidden files and the output folder are skipped."""
    album = tmp_path / "älbum one"
    for name in ("b.jpg", "sub/a b.jpg", "sub/ü.txt", ".hidden.jpg", "out/x.png", "__MACOSX/y.jpg"):
        (album / name).parent.mkdir(parents=True, exist_ok=True)
        (album / name).write_text("x")
    (album / "sub" / "up").symlink_to(album)
    (album / "again").symlink_to(album / "sub")
    (album / "lost.jpg").symlink_to(album / "nowhere")
    found = list_sources([album, tmp_path / "älbum one/b.jpg"], album / "out")
    keys = [source.key for source in found["älbum one"]]
    assert keys == [
        "älbum one/again/a b.jpg",
        "älbum one/again/ü.txt",
        "älbum one/b.jpg",
        "älbum one/lost.jpg",
    ]
    assert [source.key for source in found["b.jpg"]] == ["b.jpg"]
    assert version_of(found["b.jpg"][0]).startswith("1 ")
    assert version_of(found["älbum one"][-1]) == "missing"


def test_folders_that_can_not_be_listed(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "other" / "empty").mkdir(parents=True)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for place, message in (
        ("none", "No such file"),
        ("loop", "Too many levels"),
        ("empty", "no file in it"),
    ):
        with pytest.raises(InputError, match=f"{place}: {message}"):
            list_sources([tmp_path / place], tmp_path / "out")
    for place in ("empty", "other/empty"):
        (tmp_path / place / "x").write_text("x")
    with pytest.raises(InputError, match="are both called empty; rename one"):
        list_sources([tmp_path / "empty", tmp_path / "other/empty"], tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "mpeg4"), ("a.mkv", "mjpeg"), ("a.ts", "mpeg2video")]
)
def test_frames_are_those_at_their_times(name, codec, tmp_path):
    rate = 25 if name == "a.ts" else 10
    path = write_video(tmp_path / name, ramp(20), fps=rate, codec=codec)
    video = Video(path, rate / 2)
    frames = list(video)
    assert video.note == ""
    numbers = [frame.number for frame in frames]
    assert np.diff(numbers).min() >= 1
    assert len(frames) in (10, 11)
    for frame in frames:
        assert frame.pixels.shape == (48, 64, 3)
        assert abs(frame.pixels.mean() - 10 * frame.number) < 8
    assert np.diff([frame.time for frame in frames]) == pytest.approx(
        np.diff(numbers) / rate, abs=1e-3
    )


def test_an_animated_gif_is_a_video_and_a_still_one_a_picture(tmp_path):
    path = write_gif(tmp_path / "a.gif", ramp(6), 200)
    assert kind_of(path) == "video"
    frames = list(Video(path, 5))
    assert [round(float(frame.pixels.mean()), -1) for frame in frames] == [0, 10, 20, 30, 40, 50]
    write_picture(path, GREY)
    assert kind_of(path) == "picture"


def test_a_cut_video_gives_its_whole_frames_and_a_note(tmp_path):
    whole = write_video(tmp_path / "a.mkv", ramp(25), fps=5, codec="mjpeg").read_bytes()
    video = Video(named(tmp_path / "cut.mkv", whole[: len(whole) // 2]), 5)
    frames = list(video)
    assert 3 < len(frames) < 20
    assert video.note.startswith("cut short: ")
    assert video.note.endswith(" of 5.0 s could be read")


def test_videos_without_one_frame(tmp_path):
    whole = write_video(tmp_path / "a.mp4", ramp(10)).read_bytes()
    cut = named(tmp_path / "cut.mp4", whole[: len(whole) // 2])  # its index is at its end
    # FFmpeg may take half of a file for sound.
    with pytest.raises(BadImage, match=r"truncated or broken|without a video track"):
        list(Video(cut, 5))
    with pytest.raises(BadImage, match="truncated or broken"):
        list(Video(named(tmp_path / "b.mkv", b"\x1a\x45\xdf\xa3" + bytes(500)), 5))
    with pytest.raises(BadImage, match=r"can't be read|No such file"):
        list(Video(tmp_path / "none.mp4", 5))


def test_broken_frames_do_not_stop_the_rest(tmp_path):
    data = bytearray(write_video(tmp_path / "a.mkv", ramp(25), fps=5, codec="mjpeg").read_bytes())
    middle = len(data) // 2
    data[middle - 600 : middle] = bytes(600)
    video = Video(named(tmp_path / "b.mkv", bytes(data)), 5)
    frames = list(video)
    assert frames[-1].time > 3
    for frame in frames[:5]:
        assert abs(frame.pixels.mean() - 10 * frame.number) < 8


def test_a_file_with_sound_alone(tmp_path):
    import av

    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(BadImage, match="without a video track"):
        list(Video(tmp_path / "a.mp4", 5))


def test_frames_of_too_many_pixels_are_not_decoded(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", ramp(3))
    monkeypatch.setattr(sources, "MOST_PIXELS", 48 * 64 - 1)
    with pytest.raises(BadImage, match="frames of 64x48: more than 3,071 pixels"):
        list(Video(path, 5))


def test_a_name_is_never_an_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    film = write_video(tmp_path / "a.mp4", ramp(3)).read_bytes()
    for name in ("concat:a.mp4|a.mp4", "http:x.mp4", "%03d.mp4"):
        assert len(list(Video(named(Path(name), film), 10))) == 3


ONE = 1 << 16
"""Of the fixed point numbers of a track's matrix."""


@pytest.mark.parametrize(
    ("matrix", "corner"),
    [
        ((ONE, 0, 0, ONE), "right top"),
        ((-ONE, 0, 0, -ONE), "left bottom"),
        ((0, ONE, -ONE, 0), "right bottom"),  # a quarter turn with the clock
        ((0, -ONE, ONE, 0), "left top"),
        ((-ONE, 0, 0, ONE), "left top"),  # a front camera's mirror image
        ((ONE, 0, 0, -ONE), "right bottom"),
        ((0, ONE, ONE, 0), "left bottom"),  # mirror image and quarter turn
        ((0, -ONE, -ONE, 0), "right top"),
        ((ONE, ONE // 9, -ONE // 9, ONE), "right top"),
    ],
)
def test_a_video_is_shown_as_its_tracks_matrix_says(matrix, corner, tmp_path):
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:24, 32:] = 250  # the right upper quarter
    data = bytearray(write_video(tmp_path / "a.mp4", [frame] * 2).read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # the matrix of a header of version 0
    assert struct.unpack(">9i", data[at : at + 36])[0] == ONE
    a, b, c, d = matrix
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    (first, *_) = Video(named(tmp_path / "turned.mp4", bytes(data)), 5)
    height, width = first.pixels.shape[:2]
    assert (height, width) == ((48, 64) if abs(a) > abs(b) else (64, 48))
    bright = first.pixels.mean(2)
    halves = {"top": slice(height // 2), "bottom": slice(height // 2, None)}
    sides = {"left": slice(width // 2), "right": slice(width // 2, None)}
    means = {f"{x} {y}": bright[halves[y], sides[x]].mean() for x in sides for y in halves}
    assert max(means, key=lambda name: means[name]) == corner
    assert means[corner] > 200


@pytest.mark.parametrize("kind", ["whole", "cut", "gif", "broken"])
def test_frames_are_counted_without_decoding_them(kind, tmp_path):
    path = tmp_path / ("a.gif" if kind == "gif" else "a.mkv")
    if kind == "gif":
        # Its rate times its length is not five frames.
        write_gif(path, ramp(5), [10, 900, 40, 40, 300])
    else:
        write_video(path, ramp(12), codec="mjpeg")
    if kind in ("cut", "broken"):
        size = path.stat().st_size if kind == "cut" else 10
        path.write_bytes(path.read_bytes()[: size // 2])
    try:
        decoded = len(list(Video(path, 1000)))
    except BadImage:
        decoded = 0
    assert Video(path, 1000).count() == decoded
    assert decoded == {"whole": 12, "gif": 5, "broken": 0}.get(kind, decoded)
    assert kind != "cut" or 0 < decoded < 12
