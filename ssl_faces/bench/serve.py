"""`ssl-faces bench serve`: requests per second of the service, with batches and without."""

from __future__ import annotations

import argparse
import http.client
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import cycle, islice
from statistics import median
from urllib.parse import urlsplit

import numpy as np

from ssl_faces.bench.result import Result
from ssl_faces.common.arguments import comma_separated, whole
from ssl_faces.common.errors import InputError
from ssl_faces.common.safe_path import python
from ssl_faces.encoders.places import saved_encoder

BATCHED, ALONE = "batches", "one by one"
_PATH = "/embed?spaces="
_IMAGES = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--encoder",
        type=saved_encoder,
        default="hybrid",
        help="as for `ssl-faces serve`; default: hybrid",
    )
    rates = comma_separated(whole(1, 256))
    add("--concurrency", type=rates, default=[1, 8, 32], help="requests at once (1,8,32)")
    add("--max-batch", type=whole(2, 1024), default=32, help="faces per batch (32)")
    add("--each", type=whole(1), default=300, metavar="N", help="requests of each round (300)")
    add("--rounds", type=whole(1), default=5, help="in which the servers take turns (5)")


def measure(arguments: argparse.Namespace) -> Result:
    """Requests per second and their times, of a server with batches and one without.

    Clients are threads of this process on the same machine; each request is a face crop as PNG.

    Raises:
        InputError: the service can't be started.
    """
    from ssl_faces.encoders.encoder import load_encoder

    encoder = load_encoder(arguments.encoder)
    space = "identity" if "identity" in encoder.feature_dims else next(iter(encoder.feature_dims))
    faces = _faces(encoder.input_size)
    load = os.getloadavg()[0]
    result = Result(
        "serve",
        {
            "encoder": arguments.encoder,
            "request": f"{encoder.input_size} px crop as PNG, space {space}",
            "requests per round": arguments.each,
            "rounds": arguments.rounds,
            "cores": os.cpu_count(),
            "other load at the start": round(load, 1),
        },
    )
    with ExitStack() as stack:
        clients = {
            name: stack.enter_context(_served(arguments, most, space))
            for name, most in ((BATCHED, arguments.max_batch), (ALONE, 1))
        }
        for concurrency in arguments.concurrency:
            seconds: dict[str, list[float]] = {name: [] for name in clients}
            times: dict[str, list[float]] = {name: [] for name in clients}
            for _ in range(arguments.rounds):
                for name, client in clients.items():
                    whole_time, single = client.ask(faces, arguments.each, concurrency)
                    seconds[name].append(whole_time)
                    times[name] += single
            pairs = zip(seconds[ALONE], seconds[BATCHED], strict=True)
            ratio = median(alone / batched for alone, batched in pairs)
            for name in clients:
                result.rows.append(
                    {
                        "at once": concurrency,
                        "encoder takes": name,
                        "requests/s": arguments.each / median(seconds[name]),
                        "p50 ms": 1000 * float(np.percentile(times[name], 50)),
                        "p95 ms": 1000 * float(np.percentile(times[name], 95)),
                        "times one by one": ratio if name == BATCHED else 1.0,
                    }
                )
    return result


class _Client:
    """Asks a server from several threads, each with a connection that stays open."""

    def __init__(self, address: str, space: str) -> None:
        parts = urlsplit(address)
        assert parts.hostname is not None
        self._place = (parts.hostname, parts.port)
        self._path = _PATH + space

    def ask(
        self, faces: Sequence[bytes], count: int, concurrency: int
    ) -> tuple[float, list[float]]:
        """Seconds of `count` requests, `concurrency` at once, and of each."""
        shares = [count // concurrency + (i < count % concurrency) for i in range(concurrency)]
        with ThreadPoolExecutor(concurrency) as threads:
            started = time.perf_counter()
            lists = list(threads.map(lambda share: self._some(faces, share), shares))
            return time.perf_counter() - started, [value for part in lists for value in part]

    def _some(self, faces: Sequence[bytes], count: int) -> list[float]:
        times = []
        connection = http.client.HTTPConnection(*self._place, timeout=120)
        try:
            for face in islice(cycle(faces), count):
                started = time.perf_counter()
                connection.request("POST", self._path, face, {"Content-Type": "image/png"})
                response = connection.getresponse()
                answer = response.read()
                if response.status != 200:
                    raise RuntimeError(f"status {response.status}: {answer[:300]!r}")
                times.append(time.perf_counter() - started)
        finally:
            connection.close()
        return times


@contextmanager
def _served(arguments: argparse.Namespace, most: int, space: str) -> Iterator[_Client]:
    """A client of a server that runs meanwhile."""
    words = ["serve", "--encoder", str(arguments.encoder), "--port", "0", "--max-batch", str(most)]
    words += ["--queue", str(max(64, *arguments.concurrency)), "--seconds", "120"]
    environment = {name: value for name, value in os.environ.items() if name != "SSL_FACES_TOKEN"}
    process = subprocess.Popen(
        python("-m", "ssl_faces.cli", *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith("http"):
            raise InputError(line.partition("error: ")[2].strip() or f"the service ended: {line}")
        yield _Client(line.split()[0], space)
    finally:
        process.terminate()
        process.wait()


def _faces(size: int) -> list[bytes]:
    """Rendered face crops, as PNG files."""
    from ssl_faces.data.pictures import png
    from ssl_faces.rendered import RenderedFaces

    images = RenderedFaces(_IMAGES, 8, "all", size=size).render_batch(range(_IMAGES))
    return [png(image) for image in images.permute(0, 2, 3, 1).numpy()]
