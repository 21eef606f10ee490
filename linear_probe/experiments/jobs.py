"""What a run has to score: tasks by seed, with the sources of their features."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from linear_probe.features.frozen import Source
from linear_probe.sources.baselines import BASELINES
from linear_probe.tasks import Task


class Job(NamedTuple):
    """One feature space of one source, for a task by each seed that shares its features.

    Attributes:
        tasks: of one kind on one face set.
        first: no earlier job has these tasks.
    """

    tasks: list[Task]
    source: Source
    space: str
    first: bool


def spaces(
    tasks: Sequence[Task], encoders: Sequence[Source], baselines: Collection[str]
) -> list[tuple[Source, str]]:
    """Every source of the tasks on one face set, the baselines first, with its spaces.

    Args:
        baselines: names of those to score.
    """
    sides = dict.fromkeys(task.baseline_side for task in tasks)
    sources: list[Source] = [
        baseline(side) for baseline in BASELINES if baseline.name in baselines for side in sides
    ]
    sources += encoders
    return [(source, space) for source in sources for space in source.dims]


def jobs(
    tasks: dict[int, list[Task]], encoders: dict[int, list[Source]], baselines: Collection[str]
) -> Iterator[Job]:
    """All jobs in the order of the tables.

    Args:
        tasks: the same kinds of tasks for each seed.
        encoders: by seed; trained ones are the same for all, untrained ones may not be.
    """
    for same_kind in zip(*tasks.values(), strict=True):
        by_faces: dict[int, list[Task]] = {}
        for task in same_kind:
            by_faces.setdefault(id(task.faces), []).append(task)
        for together in by_faces.values():
            first = True
            columns = [spaces([task], encoders[task.seed], baselines) for task in together]
            for row in zip(*columns, strict=True):
                sharing: dict[str, list[int]] = {}
                for i, (source, _) in enumerate(row):
                    sharing.setdefault(source.fingerprint, []).append(i)
                for places in sharing.values():
                    source, space = row[places[0]]
                    # All tasks have their references with the first source, a baseline if any.
                    yield Job([together[i] for i in places], source, space, first)
                first = False


def rounds(sources: Sequence[Source]) -> list[list[Source]]:
    """Each source once, in as few lists as hold no name twice (untrained ones by seed are alike).

    Two of one name are different sources where their fingerprints differ.
    """
    found: list[dict[str, Source]] = []
    known: set[tuple[str, int]] = set()
    for source in sources:
        # Baselines of several sides share a name, not their spaces'.
        spaces_of = ",".join(source.dims)
        made_of = (source.fingerprint, getattr(source, "input_size", 0))
        if made_of in known:
            continue
        known.add(made_of)
        name = f"{source.name}={spaces_of}"
        place = next((names for names in found if name not in names), None)
        if place is None:
            found.append(place := {})
        place[name] = source
    return [list(names.values()) for names in found]
