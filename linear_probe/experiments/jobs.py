"""The plan of a run: tasks by seed, with the sources of their features."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Plan:
    """The tasks and sources of a run, by seed.

    Attributes:
        tasks: the same kinds of tasks for each seed.
        encoders: trained ones are the same for all seeds, untrained ones may not be.
        baselines: names of those to score.
    """

    tasks: Mapping[int, list[Task]]
    encoders: Mapping[int, list[Source]]
    baselines: Collection[str]

    def all_tasks(self) -> list[Task]:
        return [task for of_seed in self.tasks.values() for task in of_seed]

    def sources(self, tasks: Iterable[Task]) -> list[Source]:
        """Every source of these tasks on one face set, the baselines first."""
        tasks = [*tasks]
        baselines = [kind for kind in BASELINES if kind.name in self.baselines]
        sides = dict.fromkeys(task.baseline_side for task in tasks)
        seeds = dict.fromkeys(task.seed for task in tasks)
        sources: list[Source] = [kind(side) for kind in baselines for side in sides]
        return sources + [source for seed in seeds for source in self.encoders[seed]]

    def spaces(self, task: Task) -> list[tuple[Source, str]]:
        """Every source of a task with each of its spaces."""
        return [(source, space) for source in self.sources([task]) for space in source.dims]

    def jobs(self) -> Iterator[Job]:
        """All jobs in the order of the tables."""
        for same_kind in zip(*self.tasks.values(), strict=True):
            by_faces: dict[int, list[Task]] = {}
            for task in same_kind:
                by_faces.setdefault(id(task.faces), []).append(task)
            for together in by_faces.values():
                first = True
                columns = [self.spaces(task) for task in together]
                for row in zip(*columns, strict=True):
                    sharing: dict[str, list[int]] = {}
                    for i, (source, _) in enumerate(row):
                        sharing.setdefault(source.fingerprint, []).append(i)
                    for places in sharing.values():
                        source, space = row[places[0]]
                        # All tasks have their references with the first source, a baseline if any.
                        yield Job([together[i] for i in places], source, space, first)
                    first = False
