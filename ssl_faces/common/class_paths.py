"""What the class paths of configurations may name."""

from __future__ import annotations

import sys

from jsonargparse import set_parsing_settings

CONFIGS_ARE_CODE = (
    "A configuration is code: its class paths import and call what is installed. Read one from "
    "somebody else before you run it."
)


def restrict_class_paths() -> None:
    """Refuse class paths in the standard library before they are imported, and values that make
    any class where no class is asked for.

    Any other module is imported before the type of its class is known: methods, heads and
    callbacks of a user's own are found that way (`CONFIGS_ARE_CODE`).
    """
    set_parsing_settings(
        import_path_denylist=sorted(sys.stdlib_module_names), instantiate_subclass_spec_in_any=False
    )
