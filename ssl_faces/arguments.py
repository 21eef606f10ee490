"""Arguments of the commands: wrong ones are reported as any other bad input, in one sentence."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from ssl_faces.errors import InputError, shorten
from ssl_faces.files import NOT_REGULAR, is_special


class OneSentence:
    """Raises `InputError` where arguments are wrong; mixed into every kind of parser."""

    prog: str
    subject = ""
    """What messages are about, in front of them."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        lines = (line.strip(" -") for line in message.splitlines())
        text = shorten(" ".join(line for line in lines if line), 600)
        prog = self.prog.replace(" [options]", "")  # of Lightning's subcommands
        raise InputError(f"{self.subject}{text}; see `{prog} --help`") from ex


class Parser(OneSentence, argparse.ArgumentParser):
    """The parser of all commands without a settings file."""


def check_files(arguments: Sequence[str]) -> None:
    """Raises `InputError` where an argument names a pipe, a socket or a device.

    Libraries open such files too, and then wait for ever or take all memory.
    """
    for argument in arguments:
        for name in (argument, argument.partition("=")[2]):
            if is_special(name):
                raise InputError(f"{name}: is {NOT_REGULAR}; give a regular file or a folder")
