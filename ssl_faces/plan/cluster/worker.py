"""Runs one step on a machine of a cluster: `python -m ssl_faces.plan.cluster.worker SEAT TOKEN`.

It needs no torch, so that it starts quickly. An error of its own is one line on stderr, and exit
code 2.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ssl_faces.common import __version__
from ssl_faces.common.errors import InputError
from ssl_faces.common.run_record import claim
from ssl_faces.plan.cluster.seat import LOCK, PATIENCE, Order, Result, Seat
from ssl_faces.plan.processes import Command, Failed

_TICK = 0.1
_LOOK = 0.5  # seconds between two looks at the order


def main(argv: Sequence[str]) -> int:
    """Run the order with this token; 0 also if there is no such order any more."""
    received: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda number, frame: received.append(number))
    try:
        _run(Seat(Path(argv[0])), argv[1], received)
    except InputError as error:
        print(f"{socket.gethostname()}: {error}", file=sys.stderr)
        return 2
    return 0


def _run(seat: Seat, token: str, received: list[int]) -> None:
    if not seat.folder.is_dir():
        raise InputError(f"{seat.folder}: not seen there; give an --out that all machines share")
    order = _order(seat, token)
    if order is None:
        return
    if order.version != __version__:
        raise InputError(
            f"ssl-faces {__version__} is installed there, and the plan is of {order.version}; "
            "install the same version"
        )
    try:
        os.chdir(order.folder)
    except OSError as error:
        raise InputError(
            f"{order.folder}: {error.strerror}; start the plan in a folder that all machines share"
        ) from error
    lock = claim(seat.folder, LOCK, PATIENCE)  # until an earlier order's worker has ended
    order = _order(seat, token)
    if order is None or seat.result(token) is not None:
        return
    for name in list(os.environ):
        # The step is one process to its libraries, and the head submits it again.
        if name.startswith(("SLURM_", "SUBMITIT_")):
            del os.environ[name]
    try:
        seat.started(token).write_text(socket.gethostname())
        log = Path(order.log)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:
            where = f"{socket.gethostname()}, {order.cluster} job {order.job or token}"
            file.write(f"[attempt {order.count}: {where}]\n")
    except OSError as error:
        raise InputError(f"{order.log}: can't be written ({error.strerror})") from error
    result = _result(seat, order, lock, received)
    if _order(seat, token, ended=True) is not None:
        seat.write(result, token)


def _result(seat: Seat, order: Order, lock: int, received: list[int]) -> Result:
    """Run the command of an order."""
    parent, looked, asked, early = os.getppid(), 0.0, "", False
    try:
        command = Command(order.argv, Path(order.log), lock, order.environment, ends_with_us=True)
        while not command.check():
            time.sleep(_TICK)
            if not early and (received or os.getppid() != parent):
                early = True
                command.ask_to_end()
            if time.monotonic() - looked > _LOOK:
                looked = time.monotonic()
                present = _order(seat, order.token, ended=True)
                if present is None or present.end == "kill":
                    command.kill()  # a late duplicate, or there is no time
                elif present.end != asked:
                    asked = present.end
                    command.ask_to_end()
    except Failed as error:
        return Result(error.code, str(error), early and not asked)
    return Result(0, "", early=False)


def _order(seat: Seat, token: str, ended: bool = False) -> Order | None:
    """The seat's order if it has this token, `ended` also one that shall end; else None."""
    order = seat.order()
    if order is None or order.token != token or (order.end and not ended):
        return None
    return order


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
