"""Encoders on the Hugging Face hub: weights as safetensors, the card, and a page made from it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ssl_faces.common.errors import InputError, reason_of
from ssl_faces.encoders.encoder import FaceEncoder, load_encoder, save_encoder
from ssl_faces.encoders.places import CARD_FILE

_FILES = ("*.safetensors", CARD_FILE)


def push_to_hub(
    encoder: FaceEncoder | str | os.PathLike[str],
    repository: str,
    *,
    private: bool = True,
    licence: str = "other",
    token: str | None = None,
) -> str:
    """Upload an encoder, its card, saved probes and a model page; returns the page's address.

    `HF_ENDPOINT` names another server than `https://huggingface.co`.

    Args:
        encoder: from `load_encoder`, or a name or folder for it.
        repository: `OWNER/NAME`; it is created if it does not exist.
        private: whether a new repository is private.
        licence: for the page, as the hub names it (`apache-2.0`); check that of your images.
        token: of the hub; None: that of `hf auth login` or of `HF_TOKEN`.

    Raises:
        InputError: `huggingface_hub` is missing, or the server refuses.
    """
    hub = _hub()
    if not isinstance(encoder, FaceEncoder):
        encoder = load_encoder(encoder)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if encoder.place is None:
            save_encoder(encoder, folder, encoder.card)
        else:
            for pattern in _FILES:
                for path in encoder.place.glob(pattern):
                    shutil.copy(path, folder)
        card = json.loads((folder / CARD_FILE).read_text())
        (folder / "README.md").write_text(model_page(card, repository, licence))
        api = hub.HfApi(token=token)
        try:
            api.create_repo(repository, private=private, exist_ok=True)
            api.upload_folder(repo_id=repository, folder_path=folder)
        except Exception as error:  # the client raises many types
            raise InputError(
                f"{repository}: can't be uploaded ({reason_of(error)}); check its name, the token "
                "and the network"
            ) from error
        return f"{api.endpoint}/{repository}"


def from_pretrained(
    repository: str, *, revision: str | None = None, token: str | None = None
) -> FaceEncoder:
    """An encoder from the Hugging Face hub, frozen, in eval mode; only safetensors are loaded.

    Its folder, `encoder.place`, also serves `load_probe` and `linear-probe --encoder`.

    Args:
        repository: `OWNER/NAME`.
        revision: a branch, tag or commit; None: the newest.
        token: see `push_to_hub`.

    Raises:
        InputError: `huggingface_hub` is missing, there is no such encoder, or its files don't match
            their SHA-256 in the card.
    """
    hub = _hub()
    try:
        folder = hub.snapshot_download(
            repository, revision=revision, token=token, allow_patterns=list(_FILES)
        )
    except Exception as error:  # the client raises many types
        raise InputError(
            f"{repository}: can't be downloaded ({reason_of(error)}); check its name, the token "
            "and the network"
        ) from error
    return load_encoder(folder)


def model_page(card: dict[str, Any], repository: str, licence: str) -> str:
    """The README of a repository, in Markdown, from an encoder's card."""
    sets = ", ".join(
        f"{each['name']} ({each['pictures']:,} images)" for each in card.get("data", [])
    )
    facts = {
        "method": card.get("method"),
        "training images": sets,
        "left out of training": card.get("left_out"),
        "steps": card.get("steps"),
        "pairs a step": card.get("pairs_a_step"),
        "hardware": card.get("hardware"),
        "input": f"RGB face crops, {card['input_size']} px, in [0, 1]",
        "feature spaces": ", ".join(f"`{k}` ({n})" for k, n in card["feature_dims"].items()),
        "parameters": f"{card['parameters']:,}",
        "licence of the weights": card.get("licence"),
    }
    rows = [f"| {name} | {value} |" for name, value in facts.items() if value not in (None, "")]
    limits = [f"- {limit}" for limit in card.get("limits", [])]
    table, about = "\n".join(rows), "\n".join(["", "", "## Limits", "", *limits] if limits else [])
    return f"""\
---
license: {licence}
library_name: ssl-faces
pipeline_tag: image-feature-extraction
tags: [faces, self-supervised-learning, safetensors]
---
# {repository.rpartition("/")[2]}

A face encoder, pretrained without labels by the package `ssl-faces`.

```python
from ssl_faces import embed, from_pretrained

encoder = from_pretrained("{repository}")
codes = embed(encoder, ["photo.jpg"])
```

| | |
| --- | --- |
{table}{about}

Everything known about the training is in `{CARD_FILE}`.
"""


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise InputError(
            "the Hugging Face hub needs the package huggingface_hub; pip install 'ssl-faces[hub]'"
        ) from error
    return huggingface_hub
