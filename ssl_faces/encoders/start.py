"""Start training from an encoder's weights: `model.encoder.weights`."""

from __future__ import annotations

from pathlib import Path

from ssl_faces.common.errors import InputError
from ssl_faces.encoders.encoder import WEIGHTS_FILE, FaceEncoder, Start, load_encoder, read_card
from ssl_faces.encoders.places import CARD_FILE, find_encoder
from ssl_faces.encoders.state_files import load_state, read_state

SETTING = "--model.encoder.weights"
STARTED_FROM = "started_from"
"""Key of a card: what the encoder started from."""

_CODES = "codes."
_OF = "encoder."  # in a checkpoint
_ARCHITECTURE = ("name", "input_size", "width")


def read_start(name: str) -> Start:
    """Weights to start from, by their name. Raises InputError: no such encoder or file, or a file
    of another kind."""
    from ssl_faces.common.checkpoints import read_checkpoint  # late: it imports Lightning

    path = Path(name)
    try:
        if path.name == WEIGHTS_FILE and (path.parent / CARD_FILE).is_file():
            path = path.parent
        if path.suffix == ".safetensors":
            return Start(name, read_state(path), None)
        if path.is_file():
            state = read_checkpoint(path)["state_dict"]
            part = {k.removeprefix(_OF): v for k, v in state.items() if k.startswith(_OF)}
            folder = path.absolute().parents[1] / "encoder"
            return Start(name, part, folder if (folder / CARD_FILE).is_file() else None)
        folder = find_encoder(path)
        return Start(name, load_encoder(folder).state_dict(), folder)
    except InputError as error:
        raise InputError(f"{SETTING}: {error}") from error


def start_from(encoder: FaceEncoder, name: str) -> Start:
    """Load weights into a new encoder. Codes that the weights don't have stay random. Raises
    InputError: they are of another architecture; says of which, if their card does."""
    start = read_start(name)
    own = encoder.state_dict()
    state = {key: value for key, value in start.state.items() if key in own}
    state |= {k: v for k, v in own.items() if k.startswith(_CODES) and k not in start.state}
    mend = "give those of the same architecture"
    if start.folder is not None:
        card = read_card(start.folder)
        needed = (f"--model.encoder.{key} {card['config'].get(key)}" for key in _ARCHITECTURE)
        mend = f"they are of a {card.get('encoder')} encoder"
        if card.get("encoder") == encoder.encoder_name:
            mend = f"they need {' '.join(needed)}"
    load_state(encoder, state, f"{SETTING} {name}", mend)
    return start
