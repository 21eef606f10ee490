"""Restrict the class paths of configurations."""

from __future__ import annotations

import sys

from jsonargparse import set_parsing_settings

CONFIGS_ARE_CODE = (
    "A configuration is code: its class paths import and call what is installed. Read one from "
    "somebody else before you run it."
)


def restrict_class_paths() -> None:
    """Refuse class paths in the standard library, and classes as values of other types.

    Any other module is imported before the type of its class is checked, which allows methods,
    heads and callbacks of users (`CONFIGS_ARE_CODE`).
    """
    set_parsing_settings(
        import_path_denylist=sorted(sys.stdlib_module_names), instantiate_subclass_spec_in_any=False
    )
