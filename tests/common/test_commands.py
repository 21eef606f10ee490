"""All commands of both programs: help, wrong arguments, and closed output pipes."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

import linear_probe.cli
import ssl_faces.cli
from linear_probe.cli import parser
from ssl_faces.bench.cli import BENCHES
from ssl_faces.common.errors import reason_of, shorten
from ssl_faces.common.passwords import hidden, refuse_passwords
from ssl_faces.common.pipes import CLOSED_PIPE, exit_on_closed_pipe
from tests.support.refusals import message_of

Main = Callable[[list[str]], int]


def commands() -> list[tuple[str, Main, list[str]]]:
    (verbs,) = (a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    ours = [["fit"], *([name] for name in ssl_faces.cli.COMMANDS), *(["bench", b] for b in BENCHES)]
    theirs = [[], *([name] for name in verbs.choices)]
    return [
        *(("ssl-faces", ssl_faces.cli.main, words) for words in ours),
        *(("linear-probe", linear_probe.cli.main, words) for words in theirs),
    ]


COMMANDS = [pytest.param(*one, id=" ".join([one[0], *one[2]])) for one in commands()]


@pytest.mark.parametrize(("program", "main", "words"), COMMANDS)
def test_wrong_arguments_are_one_sentence(program, main, words, capsys):
    assert main([*words, "--data", "--no-such-option", "\n"]) == 2
    message = capsys.readouterr()
    assert message.out == ""
    assert message.err.startswith(f"{program}: error: ")
    assert message.err.count("\n") == 1
    # Benches of a method pass on what they don't know, which is then wrong otherwise; a missing
    # file is named first.
    bench = words[:1] == ["bench"]
    assert f"see `{program} " in message.err or bench or "No such file" in message.err


@pytest.mark.parametrize(("program", "main", "words"), COMMANDS)
def test_help(program, main, words, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert not ended.value.code
    message = capsys.readouterr()
    usage = message.out.replace(" [options] ", " ")  # Lightning's
    assert usage.startswith(f"usage: {' '.join([program, *words])} ")
    assert "%%" not in message.out
    assert message.err == ""


@pytest.mark.parametrize(
    ("words", "codes"),
    [
        (["ssl_faces.cli", "--help"], [CLOSED_PIPE]),
        # From Python 3.11.3 on, argparse passes over what it can't print.
        (["ssl_faces.cli", "runs", "--help"], [0, CLOSED_PIPE]),
        (["linear_probe.cli"], [CLOSED_PIPE]),  # by its error
    ],
)
def test_output_that_nobody_reads(words, codes):
    reading, writing = os.pipe()
    os.close(reading)
    errors = writing if "linear_probe.cli" in words else subprocess.PIPE
    done = subprocess.run(
        [sys.executable, "-m", *words], stdout=writing, stderr=errors, check=False
    )
    os.close(writing)
    assert done.returncode in codes
    assert not done.stderr


def test_a_library_that_ends_the_program_for_it(monkeypatch):
    """As Rich does, which leads its output to nowhere first."""
    reading, writing = os.pipe()
    os.close(reading)

    @exit_on_closed_pipe
    def main() -> int:
        try:
            print("x", flush=True)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, writing)
            os.close(nowhere)
            raise SystemExit(1)  # noqa: B904
        return 0

    with os.fdopen(writing, "w") as output:
        monkeypatch.setattr(sys, "stdout", output)
        assert main() == CLOSED_PIPE


def test_another_broken_pipe_is_no_readers_leaving():
    @exit_on_closed_pipe
    def main() -> int:
        raise BrokenPipeError("of a socket")

    with pytest.raises(BrokenPipeError, match="of a socket"):
        main()


def test_a_misspelt_command(capsys):
    assert ssl_faces.cli.main(["embd", "x.jpg"]) == 2
    assert "no command 'embd' (did you mean embed?)" in capsys.readouterr().err


NAME = "/data/holiday/" + 20 * "very_" + "long.jpg"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("short", "short"),
        (f"can't read {NAME}", f"can't read {NAME}"),
        (f"can't read {NAME} at all", f"can't read {NAME} …"),
        ("a  file.png\n  is \r\n broken", "a  file.png is broken"),
        ("x" * 1000, "x" * 430 + " …"),
    ],
)
def test_file_names_stay_whole(text, message):
    assert shorten(text, 30) == reason_of(ValueError(text), 30) == message
    assert reason_of(TimeoutError()) == "TimeoutError"


SECRETS = ("s3cret", "s3c/ret+x", "0/s3cret", "s3c@ret", "s3c:ret", "?s3c#ret", "s3'\"cret<")


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "address",
    [
        "s3://AKIA:{}@bucket/x",
        "redis://:{}@host/x",
        "https://me:{}@host.example:8080/x@2",
        "postgresql+psycopg2://me:{}@10.0.0.1/db",
    ],
)
def test_passwords_of_users(address, secret):
    text = address.format(secret)
    assert hidden(f"see {text} and more@x") == f"see {_without(address)} and more@x"
    message = message_of(refuse_passwords, {"data": {"packs": ["a", text]}})
    assert message.startswith("data.packs: ")
    assert _without(address) in message


def _without(address):
    return address.replace("{}", "***").replace("***@host.example:8080/x@2", "***@2")


@pytest.mark.parametrize("key", ["password", "PASSWD", "db_pwd", "X-Amz-Signature", "sig", "key"])
def test_passwords_of_a_query(key):
    text = f"https://host/db?user=me&{key}=s3c/ret&x=1"
    assert hidden(text) == f"https://host/db?user=me&{key}=***&x=1"
    assert "has a password" in message_of(refuse_passwords, text, "storage")


@pytest.mark.parametrize(
    "text",
    [
        "http://localhost:8000/faces@v2",
        "http://host.example:8000/faces@v2",
        "http://[::1]:8000/faces@v2",
        "https://user@host/x",
        "s3://bucket/a:b@c",
        "s3://bucket/x?versionId=3",
        "s3://me:***@bucket/x",
        "a:b@c",
        "/data/x:y@z",
    ],
)
def test_addresses_without_a_password(text):
    assert hidden(text) == text
    refuse_passwords({"x": text})
