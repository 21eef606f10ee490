"""Arguments of the commands: wrong ones are told as any other bad input, in one sentence."""

from __future__ import annotations

import argparse
from typing import NoReturn

from ssl_faces.errors import InputError


class Parser(argparse.ArgumentParser):
    """Raises `InputError` where arguments are wrong."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see `{self.prog} --help`")
