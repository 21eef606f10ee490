"""The methods that can be trained, from their configs: `ssl-faces methods`.

A config of `configs/method` says what its method is in its first line, a comment, and what it needs
in a second one, `# Needs: …`. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from ssl_faces.common.arguments import Parser
from ssl_faces.common.config_files import CONFIGS

_SMALL = "_small"
_NEEDS = "# Needs: "


@dataclass(frozen=True)
class MethodEntry:
    """A method to train."""

    name: str  # in configs, cards and checkpoints
    about: str  # what it does, one line
    needs: str  # images, clips, an earlier run, downloads
    configs: tuple[str, ...]  # names for `ssl-faces fit -c`; the one for CPUs ends in `_small`
    class_path: str  # of the method's class

    @property
    def small(self) -> str:
        """The config for CPUs, or the only one."""
        return self.configs[-1]


def method_entries() -> list[MethodEntry]:
    """All methods that have a config in `configs/method`, by name."""
    paths = {path.stem: path for path in sorted((CONFIGS / "method").glob("*.yaml"))}
    entries = []
    for name, path in paths.items():
        if name.endswith(_SMALL) and name.removesuffix(_SMALL) in paths:
            continue
        about, needs = _header(path)
        small = f"{name}{_SMALL}"
        if small in paths and (other := _header(paths[small])[1]) != needs:
            needs = f"{needs} ({small}: {other})"
        configs = tuple(config for config in (name, small) if config in paths)
        class_path = yaml.safe_load(path.read_text())["model"]["class_path"]
        entries.append(MethodEntry(name, about, needs, configs, class_path))
    return entries


def _header(path: Path) -> tuple[str, str]:
    """What a config is, and what it needs."""
    lines = path.read_text().splitlines()
    needs = (line.removeprefix(_NEEDS) for line in lines if line.startswith(_NEEDS))
    return lines[0].lstrip("# "), next(needs, "images")


def run(arguments: Sequence[str]) -> None:
    """Run `ssl-faces methods`."""
    parser = Parser(
        prog="ssl-faces methods",
        description="List the methods to train, what they need, and their configs.",
        epilog=f"Configs that end in _small are for CPUs. All configs: {CONFIGS}",
    )
    parser.parse_args(arguments)
    for entry in method_entries():
        print(f"{entry.name}: {entry.about}")
        print(f"    needs {entry.needs}\n    configs {', '.join(entry.configs)}")
    print("\nTrain one of them: ssl-faces fit -c CONFIG --out DIR")
