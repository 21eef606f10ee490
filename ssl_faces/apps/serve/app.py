"""The routes of the service, and its page."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import fastapi
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from pydantic import ValidationError
from torch import Tensor

from ssl_faces.apps.face_finder import Detect, FaceCrop
from ssl_faces.apps.search import reliability
from ssl_faces.apps.serve import schema
from ssl_faces.apps.serve.batches import Batcher
from ssl_faces.apps.serve.service import Service
from ssl_faces.apps.verify import SPACE, compare
from ssl_faces.apps.web.filter import Refused
from ssl_faces.apps.web.guard import Guard, Metrics, ServiceLimits, add_failures
from ssl_faces.common import __version__
from ssl_faces.common.page_style import rendered

TITLE = "ssl-faces serve"
MOST_MATCHES = 100
"""Of one face, in a search."""

_Result = TypeVar("_Result")
_Face = TypeVar("_Face", bound=schema.Face)

_DETECT = fastapi.Query(
    description="always: detect faces; never: images are face crops; auto: images of at most 128 "
    "pixels a side are face crops"
)
_FACES = fastapi.Query(description="the largest face of each image, or all")
_SPACES = fastapi.Query(description="feature spaces, with commas; default: all")
_NEAREST = fastapi.Query(ge=1, le=MOST_MATCHES, description="matches of each face")
Detected = Annotated[Detect, _DETECT]
Which = Annotated[Literal["largest", "all"], _FACES]

_FAILURES: dict[int | str, dict[str, Any]] = {
    status: {"description": description, "model": schema.Failure}
    for status, description in {
        400: "broken JSON or base64, or cut short",
        401: "no token, or another",
        408: "arrives too slowly",
        413: "too large: bytes, pixels or images",
        415: "no image, or another content type",
        422: "no usable face, or a wrong parameter",
        429: "too many requests at once",
        503: "takes too long, or more memory than there is",
    }.items()
}


class _Seen(NamedTuple):
    """The faces of a request, and their codes [N, D] by feature space."""

    crops: list[FaceCrop]
    numbers: list[int]
    codes: dict[str, Tensor]

    def faces(self, kind: type[_Face], **columns: Sequence[Any]) -> list[_Face]:
        """Each face, with what the columns have of it."""
        faces = []
        for i, (crop, number) in enumerate(zip(self.crops, self.numbers, strict=True)):
            more = {name: values[i] for name, values in columns.items()}
            faces.append(kind(image=number, box=crop.box, score=crop.score, **more))
        return faces


class _Work:
    """Computes requests, in threads: reading images in some, the encoder in one."""

    def __init__(
        self, service: Service, limits: ServiceLimits, metrics: Metrics, threads: int
    ) -> None:
        self.service, self.limits = service, limits
        self._threads = ThreadPoolExecutor(threads, "images")
        self._batcher = Batcher(service.encode, limits.batch, metrics.batches.observe)

    @asynccontextmanager
    async def running(self, app: fastapi.FastAPI) -> AsyncIterator[None]:
        """The lifespan of the application."""
        batches = asyncio.create_task(self._batcher.run())
        try:
            yield
        finally:
            batches.cancel()
            await asyncio.gather(batches, return_exceptions=True)
            self._threads.shutdown(cancel_futures=True)

    async def __call__(
        self, images: list[bytes], spaces: Collection[str], detect: Detect, which: str
    ) -> _Seen:
        await self.in_threads([partial(self.service.check, images, self.limits)])
        faces = await self.in_threads(
            [
                partial(self.service.faces, data, number, detect, which == "largest")
                for number, data in enumerate(images)
            ]
        )
        crops = [crop for of_image in faces for crop in of_image]
        numbers = [number for number, of_image in enumerate(faces) for _ in of_image]
        codes = await self._batcher([crop.pixels for crop in crops], spaces)
        return _Seen(crops, numbers, codes)

    async def in_threads(self, calls: list[Callable[[], _Result]]) -> list[_Result]:
        """The results of functions that run beside each other, in their order."""
        loop = asyncio.get_running_loop()
        futures = [loop.run_in_executor(self._threads, call) for call in calls]
        try:
            return await asyncio.gather(*futures)
        finally:
            for future in futures:
                future.cancel()  # those that have not begun, if one fails or time is over


def build_app(
    service: Service,
    limits: ServiceLimits,
    token: str | None = None,
    threads: int = 2,
    loopback: bool = True,
) -> fastapi.FastAPI:
    """The service as an ASGI application.

    Args:
        token: that requests must bear; None asks for none.
        threads: that decode images and detect faces.
        loopback: it listens on this machine alone.
    """
    metrics = Metrics()
    work = _Work(service, limits, metrics, threads)
    app = fastapi.FastAPI(
        title=TITLE,
        version=__version__,
        description=f"Encoder {service.name}. Results are often wrong, and not for deciding about "
        "people.",
        lifespan=work.running,
        dependencies=[fastapi.Depends(_refuse_unknown)],
        docs_url=None,
        redoc_url=None,
    )
    _add_posts(app, work)
    _add_gets(app, service, metrics)
    add_failures(app)
    paths = {route.path for route in app.routes if isinstance(route, fastapi.routing.APIRoute)}
    app.add_middleware(
        Guard,
        limits=limits,
        token=token,
        metrics=metrics,
        paths={*paths, "/openapi.json"},
        loopback=loopback,
    )
    return app


def _add_posts(app: fastapi.FastAPI, work: _Work) -> None:
    service = work.service

    def post(path: str, body: str = "One image as it is, or several as JSON.") -> Any:
        return app.post(path, responses=_FAILURES, openapi_extra=_described(body))

    @post("/embed")
    async def embed(
        request: fastapi.Request,
        spaces: Annotated[str | None, _SPACES] = None,
        faces: Which = "largest",
        detect: Detected = "auto",
    ) -> schema.Embeddings:
        """Codes of the faces of images."""
        names = service.wanted(spaces)
        seen = await work(await _images(request), names, detect, faces)
        rows = zip(*(seen.codes[space].tolist() for space in names), strict=True)
        codes = [dict(zip(names, row, strict=True)) for row in rows]
        return schema.Embeddings(faces=seen.faces(schema.Embedded, codes=codes))

    if SPACE in service.encoder.feature_dims:

        @post("/verify", "Two images.")
        async def verify(request: fastapi.Request, detect: Detected = "auto") -> schema.Comparison:
            """Similarity of the largest faces of two images."""
            images = await _images(request)
            if len(images) != 2:
                raise Refused(422, f"images: {len(images)}; give two, as JSON")
            seen = await work(images, [SPACE], detect, "largest")
            value, threshold, meaning = compare(service.encoder, seen.codes[SPACE])
            return schema.Comparison(
                similarity=value,
                threshold=threshold,
                above=None if threshold is None else value >= threshold,
                meaning=meaning,
                faces=seen.faces(schema.Face),
            )

    if (probe := service.probe) is not None:

        @post("/expressions")
        async def expressions(
            request: fastapi.Request, faces: Which = "largest", detect: Detected = "auto"
        ) -> schema.Expressions:
            """Probabilities of facial expressions, which do not show what a person feels."""
            seen = await work(await _images(request), [probe.space], detect, faces)
            rows = probe(seen.codes[probe.space]).tolist()
            named = [dict(zip(probe.classes, row, strict=True)) for row in rows]
            return schema.Expressions(
                faces=seen.faces(schema.Expressive, probabilities=named),
                accuracy=probe.about.get("accuracy"),
            )

    if (index := service.index) is not None:

        @post("/search")
        async def search(
            request: fastapi.Request,
            nearest: Annotated[int, _NEAREST] = 5,
            faces: Which = "largest",
            detect: Detected = "auto",
        ) -> schema.Matches:
            """The most similar faces of the index, which are often of other people."""
            space = index.about["space"]
            seen = await work(await _images(request), [space], detect, faces)
            call = partial(service.matches, seen.codes[space], nearest)
            (matches,) = await work.in_threads([call])
            known = service.identification
            return schema.Matches(
                faces=seen.faces(schema.Searched, matches=matches),
                threshold=None if known is None else known.threshold,
                meaning=f"{reliability(known, len(index.faces))}.",
            )


def _add_gets(app: fastapi.FastAPI, service: Service, metrics: Metrics) -> None:
    @app.get("/health")
    async def health() -> schema.Health:
        """That the service runs, and what it offers; without a token."""
        return schema.Health(
            status="ok",
            encoder=service.name,
            feature_dims=service.encoder.feature_dims,
            classes=None if service.probe is None else [*service.probe.classes],
            searched=None if service.index is None else len(service.index.faces),
        )

    @app.get("/metrics", response_class=Response)
    async def figures() -> Response:
        """Requests, times, batches, memory and CPU time, for Prometheus."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        policy = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        page = rendered("ssl_faces.apps.serve", "docs.html", strict=False, api=app.openapi())
        return HTMLResponse(page, headers=policy)

    @app.get("/", include_in_schema=False)
    async def home() -> RedirectResponse:
        return RedirectResponse("/docs")


async def _refuse_unknown(request: fastapi.Request) -> None:
    """Raise Refused if the query has a parameter that the path doesn't take."""
    route: fastapi.routing.APIRoute = request.scope["route"]
    known = [field.alias for field in route.dependant.query_params]
    for name in request.query_params:
        if name not in known:
            takes = f"takes {', '.join(known) or 'no parameters'}"
            raise Refused(422, f"{name[:40]}: {route.path} {takes}")


async def _images(request: fastapi.Request) -> list[bytes]:
    """The images of a request; raises Refused."""
    body = await request.body()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind.startswith("image/") or kind == "application/octet-stream":
        return [body]
    if kind != "application/json":
        raise Refused(
            415,
            f"the content type {kind[:40] or '(none)'} is not taken; give image/jpeg, image/png, "
            'or application/json with {"images": ["BASE64"]}',
        )
    try:
        images = schema.Images.model_validate_json(body).images
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        if first["type"] == "json_invalid":
            raise Refused(400, f"broken JSON ({first['msg'].partition(': ')[2]})") from error
        where = ".".join(map(str, first["loc"])) or "the body"
        status = 413 if first["type"] == "too_long" else 422
        raise Refused(status, f"{where[:60]}: {first['msg']}") from error
    try:
        return [base64.b64decode(text, validate=True) for text in images]
    except (binascii.Error, ValueError) as error:
        raise Refused(400, f"images: no base64 ({error})") from error


def _described(body: str) -> dict[str, Any]:
    """The documentation of a request's body."""
    kinds = {"application/json": schema.Images.model_json_schema()}
    if body.startswith("One image"):
        binary = {"type": "string", "format": "binary"}
        kinds = {"image/jpeg": binary, "image/png": binary, **kinds}
    content = {kind: {"schema": described} for kind, described in kinds.items()}
    return {"requestBody": {"required": True, "description": body, "content": content}}
