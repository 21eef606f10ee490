"""Parsers of settings files with one-sentence errors."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

from ssl_faces.common.arguments import OneSentence, check_text, check_words
from ssl_faces.common.errors import InputError, bad_input, did_you_mean, shorten
from ssl_faces.common.yaml_settings import read_yaml

_NUMBER = re.compile(
    r"Annotated\[\s*\w+,\s+PlainValidator\(func=([^=]*),\s+json_schema_input_type=[\w.]*\)\]"
)
_NOISE = re.compile(
    r"(Given value|Subtypes|Errors:|For further|Does not validate|1 validation|Expected a path but"
    r"|Expected a <class 'NoneType'>)"
)
_PLAIN = (
    (r".*argument after \*\* must be a mapping, not (\w+)", r"expected settings by name, not \1"),
    (r"Value error, (.*?) \[type=value_error.*", r"\1"),
    (
        r".*(Importing '\S+' is not allowed), denied by.*",
        r"\1: a module of Python's own; give a class of a package or of a file of yours",
    ),
    (r".* codec can't decode .*", "the file is not UTF-8; save it as UTF-8"),
    (r"Unexpected config:.*", "no settings in it; write a line KEY: VALUE for each"),
    (r"Expected a dot import path string:.*", "expected a class or a file"),
    (r"Expected an? (?:<class '([\w.]+)'>|typing\.(\w+\[.*?\]))", r"expected \1\2"),
    (r"\. Got value: (.+)", r", not \1"),
    (r"\. Got value:", ", not nothing"),
)

_UNKNOWN = re.compile(
    r"(?:Group '(?P<group>[^']+)' does not accept option|Subcommand '\w+' does not accept option"
    r"|Option) '(?P<key>[^']+)'(?: is not accepted)?"
    r"|unrecognized arguments: (?P<option>--?[A-Za-z][^\s=]*).*"
)
_UNKNOWN_KEY = re.compile(r"configuration: (\S+): unknown key")


class SettingsErrors(OneSentence, ArgumentParser):
    """A mixin for jsonargparse parsers."""

    subject = "configuration: "

    def parse_args(self, args: Any = None, *more: Any, **kwargs: Any) -> Any:
        words = list(sys.argv[1:] if args is None else args)
        check_words(words)
        try:
            settings = super().parse_args(args, *more, **kwargs)
        except RecursionError as error:
            raise InputError(f"{self.subject}nested too deeply; flatten it") from error
        except UnicodeDecodeError as error:
            where = next((name for name in map(_value, words) if _holds(name, error)), "a file")
            raise InputError(
                f"{self.subject}{where} is not UTF-8 ({error.reason}); save it as UTF-8"
            ) from error
        except ValueError as error:
            if "null byte" not in str(error):
                raise
            raise InputError(f"{self.subject}a null byte in a path; take it out") from error
        except InputError as error:
            raise InputError(_with_file(str(error), words)) from error
        check_text(settings.as_dict(), "")
        return settings

    def instantiate(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().instantiate(*args, **kwargs)
        except ValueError as error:
            # If the value could have several types, the constructor's error is only in the text.
            known = bad_input(error)
            if known is None and not isinstance(error.__cause__, ValueError | TypeError):
                raise
            raise InputError(known or self.subject + one_sentence(str(error))) from error

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        # Settings are those of the command, `fit`, whose help lists them.
        command = self._subcommands_action and next(iter(self._subcommands_action.choices.values()))
        parser = command or self
        text = one_sentence(message)
        if match := _UNKNOWN.fullmatch(text):
            keys = [action.dest for action in parser._actions]
            options = [name for action in parser._actions for name in action.option_strings]
            key = ".".join(filter(None, (match["group"], match["key"])))
            text = f"{key}: unknown key{did_you_mean(key, keys)}"
            if name := match["option"]:
                text = f"unknown option {name}{did_you_mean(name, options)}"
        if not parser.exit_on_error:  # the parser of a class, whose help is not the command's
            text = re.sub(r"the following arguments are required: (.*)", r"\1: missing", text)
            raise InputError(self.subject + text) from ex
        OneSentence.error(parser, text, ex)

    def format_help(self, *args: Any, **kwargs: Any) -> str:
        return _NUMBER.sub(r"\1", super().format_help(*args, **kwargs))


def _value(word: str) -> str:
    return word.partition("=")[2] if word.startswith("-") else word


def _holds(name: str, error: UnicodeDecodeError) -> bool:
    """Whether the bytes that could not be decoded are from this file."""
    try:
        return Path(name).read_bytes().startswith(error.object)
    except (OSError, ValueError):
        return False


def _with_file(message: str, words: Sequence[str]) -> str:
    """A message, with the last config among the words that has its unknown key."""
    match = _UNKNOWN_KEY.match(message)
    if match is None:
        return message
    for before, word in reversed(list(zip(["", *words], words, strict=False))):
        name = word if before in ("-c", "--config") else word.partition("--config=")[2]
        with suppress(InputError):
            for key in _keys(read_yaml(Path(name), name)) if name else ():
                # The parser of a class knows only the end of the key.
                if f".{key}".endswith(f".{match[1]}"):
                    return f"{SettingsErrors.subject}{name}: {key}{message[match.end(1) :]}"
    return message


def _keys(settings: object, key: str = "") -> Iterator[str]:
    """All keys of nested settings, as in messages: without `init_args`."""
    if isinstance(settings, Mapping):
        for name, value in settings.items():
            below = key if name == "init_args" else f"{key}.{name}".removeprefix(".")
            yield below
            yield from _keys(value, below)
    elif isinstance(settings, list):
        for value in settings:
            yield from _keys(value, key)


def one_sentence(message: str) -> str:
    """`KEY: REASON` from a message of jsonargparse, which has a line for each possible type.

    For example `model.temperature: expected float, not nan`.
    """
    key, value = "", ""
    reasons: dict[str, None] = {}
    for line in message.splitlines():
        text = line.strip().removeprefix("- ")
        if match := re.match(r'Parser key "([^"]+)":\s*', text):
            key, text = f"{key}{match[1]}.", text[match.end() :]
        if match := re.match(r"Given value: (?!NestedArg|Namespace)(.+)", text):
            value = f", not {match[1]}"
        elif text.startswith(SettingsErrors.subject):
            # From the parser of a class, already one sentence.
            return key + text.removeprefix(SettingsErrors.subject)
        elif text and not _NOISE.match(text):
            for pattern, plain in _PLAIN:
                text = re.sub(pattern, plain, text)
            reasons[text] = None
    types = [reason.removeprefix("expected ") for reason in reasons if "expected " in reason]
    others = [reason for reason in reasons if not reason.startswith("expected ")]
    text = " ".join(others) or f"expected {' or '.join(types)}{value}"
    text = f"{key[:-1]}: {text}" if key else text
    return shorten(text, 600)
