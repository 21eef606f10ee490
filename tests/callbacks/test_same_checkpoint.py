"""All processes of a run resume from one checkpoint, or none does."""

from types import SimpleNamespace

import pytest

from ssl_faces.callbacks.last_checkpoint import SameCheckpoint
from ssl_faces.common.errors import InputError


@pytest.mark.parametrize("paths", [["", ""], ["a.ckpt"] * 3, ["a.ckpt", ""], ["", "a.ckpt"]])
def test_all_processes_have_the_same_checkpoint(paths):
    def decide(same, all):
        assert all
        assert same == (path == paths[0])
        return len(set(paths)) == 1

    strategy = SimpleNamespace(broadcast=lambda _: paths[0], reduce_boolean_decision=decide)
    trainer = SimpleNamespace(strategy=strategy)
    for path in paths:
        callback = SameCheckpoint(path or None)
        if len(set(paths)) == 1:
            callback.setup(trainer, None, "fit")
        else:
            with pytest.raises(InputError, match="not all processes find the run's checkpoint"):
                callback.setup(trainer, None, "fit")
