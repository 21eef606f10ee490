"""Arguments of the commands: wrong ones are told as any other bad input, in one sentence."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from ssl_faces.errors import InputError
from ssl_faces.files import NOT_REGULAR, is_special


class Parser(argparse.ArgumentParser):
    """Raises `InputError` where arguments are wrong."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see `{self.prog} --help`")


def check_files(arguments: Sequence[str]) -> None:
    """Raises `InputError` where an argument names a pipe, a socket or a device.

    Libraries open such files too, and then wait for ever or take all memory.
    """
    for argument in arguments:
        for name in (argument, argument.partition("=")[2]):
            if is_special(name):
                raise InputError(f"{name}: is {NOT_REGULAR}; give a regular file or a folder")
