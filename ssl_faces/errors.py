"""The one error that means "the input is wrong": the commands print it as a sentence and exit 2."""


class InputError(Exception):
    """Bad input. The message is one sentence that names the file or key and the mend."""
