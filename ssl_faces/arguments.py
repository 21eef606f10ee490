"""Arguments of the commands: wrong ones are reported as any other bad input, in one sentence."""

from __future__ import annotations

import argparse
from typing import NoReturn

from ssl_faces.errors import InputError, shorten


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
