"""The page on applications: its service and its exported file, as a reader would use them."""

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_faces import align, load_encoder, load_probe
from ssl_faces.apps.serve.command import run as serve
from ssl_faces.cli import main
from ssl_faces.prepare import numpy_alignment
from tests.support import pages
from tests.support.fits import start
from tests.support.images import EYES, astronaut
from tests.support.pages import commands
from tests.support.waiting import eventually

pytest.importorskip("fastapi")
section = partial(pages.section, "ssl_faces/apps/README.md")


def test_a_file_is_deployed(tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnxruntime")
    command, with_int8 = commands(section("Deploy as one file"))
    assert with_int8.endswith("--pipeline --int8")  # tests/export runs it: it takes minutes
    monkeypatch.chdir(tmp_path)
    assert main([*shlex.split(command)[1:], "--data", "rendered", "--faces", "32"]) == 0
    shutil.copy(numpy_alignment.__file__, tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (code,) = re.findall(r"```python\n(.*?)```", section("Deploy as one file"), re.DOTALL)
    Image.fromarray(astronaut()).save("ONE.jpg", format="PNG")  # without loss
    known = {}
    capsys.readouterr()
    exec(code, known)
    outputs = known["outputs"]
    encoder, probe = load_encoder("hybrid"), load_probe("hybrid")
    np.testing.assert_allclose(known["landmarks"][:2], EYES)
    crop = align(astronaut(), known["landmarks"], encoder.input_size)
    image = np.ascontiguousarray(crop.transpose(2, 0, 1)[None] / np.float32(255))
    codes = encoder(torch.from_numpy(image))
    for space, values in codes.items():
        np.testing.assert_allclose(outputs[space], values, atol=0.05)
    expected = probe(codes[probe.space])[0].tolist()
    assert outputs["expression_probabilities"][0].tolist() == pytest.approx(expected, abs=0.01)
    printed = capsys.readouterr().out
    assert all(name in printed for name in probe.classes)
    assert probe.classes[int(np.argmax(expected))] == "happy"


def test_the_service_answers_the_pages_requests(tmp_path):
    if shutil.which("curl") is None or shutil.which("base64") is None:
        pytest.skip("no curl here")
    serving, *requests = commands(section("Serve"))[1:]
    for name, pixels in (("ONE.jpg", astronaut()), ("OTHER.jpg", astronaut()[:, ::-1])):
        Image.fromarray(pixels).save(tmp_path / name, quality=95)
    printed = tmp_path / "printed"
    process = start(printed, *shlex.split(serving)[1:], "--port", "0")
    try:
        eventually(lambda: "\n" in (printed / "out").read_text() or not process.is_alive())
        address = (printed / "out").read_text().split()[0].rstrip("/")
        answers = []
        for request in requests:
            done = subprocess.run(
                ["bash", "-c", request.replace("http://127.0.0.1:8000", address)],
                cwd=tmp_path,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
            answers.append(done.stdout)
    finally:
        process.terminate()
        process.join(60)
        assert process.exitcode == 143
    expressions, codes, comparison = (json.loads(answer) for answer in answers[:3])
    (face,) = expressions["faces"]
    assert max(face["probabilities"], key=face["probabilities"].get) == "happy"
    left, top, right, bottom = face["box"]
    assert left < EYES[0, 0] < EYES[1, 0] < right
    assert top < EYES[0, 1] < bottom
    assert len(codes["faces"][0]["codes"]["identity"]) > 100
    assert 0.5 < comparison["similarity"] < 1  # a person's mirror image
    assert 'ssl_faces_requests_total{path="/verify",status="200"} 1.0' in answers[3]


def test_the_unit_starts_a_command_that_exists(tmp_path, monkeypatch):
    (text,) = re.findall(r"```ini\n(.*?)```", section("Serve"), re.DOTALL)
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str
    unit.read_string(text)
    (tmp_path / "token").write_text("a-token-of-16-or-more\n")
    command = unit["Service"]["ExecStart"].replace("${CREDENTIALS_DIRECTORY}", str(tmp_path))
    program, verb, *words = shlex.split(command)
    assert (Path(program).name, verb) == ("ssl-faces", "serve")
    ran = []
    monkeypatch.setattr("ssl_faces.apps.web.running.run_app", lambda *args, **_: ran.append(args))
    serve(words)
    assert len(ran) == 1
    if shutil.which("systemd-analyze") is not None:
        name = tmp_path / "ssl-faces.service"
        name.write_text(text.replace(program, sys.executable))
        done = subprocess.run(
            ["systemd-analyze", "verify", str(name)], capture_output=True, text=True
        )
        assert "ssl-faces.service" not in done.stderr, done.stderr
