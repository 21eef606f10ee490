"""Ray as a cluster of plans: each step is an actor that outlives the head, and ends with its step.

A task would end with the head. The actor's name is the order's token, so that a new head finds it.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from ssl_faces.common.errors import InputError, reason_of
from ssl_faces.plan.cluster.attempts import State
from ssl_faces.plan.cluster.resources import Resources
from ssl_faces.plan.cluster.seat import launcher
from ssl_faces.plan.steps import say

NAMESPACE = "ssl-faces"
_SECONDS = 5.0


class Ray:
    """A `Cluster`.

    Args:
        address: HOST:PORT of the cluster, or `auto` for the one of this machine.

    Raises:
        InputError: no Ray, no cluster there, or of another version.
    """

    kind = "ray"

    def __init__(self, address: str | None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError as error:
            raise InputError(
                '--executor ray needs Ray, which is not installed; pip install "ssl-faces[ray]"'
            ) from error
        self.ray, address = ray, address or "auto"
        if not ray.is_initialized():
            _check_port(address)
            before = signal.getsignal(signal.SIGTERM)
            try:
                ray.init(
                    address,
                    namespace=NAMESPACE,
                    log_to_driver=False,
                    logging_level=logging.CRITICAL,
                )
            except Exception as error:
                raise InputError(
                    f"--address {address}: no Ray cluster can be joined there "
                    f"({reason_of(error)}); start one (`ray start --head`), or mend the address"
                ) from error
            finally:
                signal.signal(signal.SIGTERM, before)  # Ray replaces it
        self.has_gpus = ray.cluster_resources().get("GPU", 0) > 0
        self._over: dict[str, Any] = {}  # references that are ready when an actor is over

    def submit(self, name: str, seat: Path, token: str, needs: Resources) -> str:
        launch = launcher()

        class Attempt:
            """Not of a module, so that it is pickled whole."""

            def __init__(self, folder: str, token: str) -> None:
                # An actor that can't be made frees its resources.
                raise RuntimeError(f"ssl-faces: {launch(folder, token)}")

        cpus, gpus = needs.cpus or 0, needs.gpus or 0
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        if not any(n.get("CPU", 0) >= cpus and n.get("GPU", 0) >= gpus for n in nodes):
            say(f"  it waits: no node has {cpus} CPUs and {gpus} GPUs; add one, or ask for less")
        actor: Any = (
            self.ray.remote(Attempt)
            .options(
                name=token,
                namespace=NAMESPACE,
                lifetime="detached",
                num_cpus=cpus,
                num_gpus=gpus,
                memory=int(needs.memory_gb * 2**30) if needs.memory_gb else None,
                max_restarts=0,
            )
            .remote(str(seat), token)
        )
        self._over[token] = actor.__ray_ready__.remote()
        return token

    def state(self, job: str) -> State:
        if job not in self._over:
            try:
                actor = self.ray.get_actor(job, NAMESPACE)
            except ValueError:
                return "ended"
            self._over[job] = actor.__ray_ready__.remote()
        ready, _ = self.ray.wait([self._over[job]], timeout=0)
        return "ended" if ready else "alive"

    def error(self, job: str) -> str:
        if job not in self._over:
            return ""
        try:
            self.ray.get(self._over[job], timeout=_SECONDS)
        except self.ray.exceptions.RayError as error:
            match = re.search(r"RuntimeError: ssl-faces: (.+)", str(error))
            return match[1] if match else ""
        return ""

    def cancel(self, job: str) -> None:
        with suppress(ValueError):
            self.ray.kill(self.ray.get_actor(job, NAMESPACE))


def _check_port(address: str) -> None:
    """Raises InputError if nothing listens there: Ray would try for a minute."""
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise InputError(f"--address {address}: neither `auto` nor HOST:PORT; give one of them")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"--address {address}: nothing answers there ({reason_of(error)}); start a cluster "
            "(`ray start --head` prints its address), or mend the address"
        ) from error
