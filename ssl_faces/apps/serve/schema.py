"""What requests and answers hold: the service's documentation is made from these classes."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

MOST_IMAGES = 64
"""In one request."""


class Images(BaseModel):
    """Images of a request."""

    model_config = ConfigDict(extra="forbid")

    images: list[str] = Field(
        min_length=1, max_length=MOST_IMAGES, description="files (JPEG, PNG …) in base64"
    )


class Face(BaseModel):
    """A face of an image."""

    image: int = Field(description="number of the image, from 0")
    box: tuple[float, float, float, float] | None = Field(
        description="left, top, right, bottom in pixels; null if the whole image was taken"
    )
    score: float = Field(description="of the detector, 0 to 1")


class Embedded(Face):
    codes: dict[str, list[float]] = Field(description="a code by feature space")


class Embeddings(BaseModel):
    faces: list[Embedded]


class Expressive(Face):
    probabilities: dict[str, float] = Field(description="of each class; their sum is 1")


class Expressions(BaseModel):
    faces: list[Expressive]
    accuracy: Any = Field(description="of the probe, on test images; null if unknown")


class Comparison(BaseModel):
    similarity: float = Field(description="cosine of the identity codes, -1 to 1")
    threshold: float | None = Field(description="of the encoder's card; null if it has none")
    above: bool | None = Field(description="whether the similarity is at least the threshold")
    meaning: str = Field(description="what the similarity says, and how often that is right")
    faces: list[Face] = Field(description="the largest face of each image, which was compared")


class Match(BaseModel):
    key: str = Field(description="of the face in the index: file, frame and number")
    similarity: float = Field(description="cosine of the identity codes, -1 to 1")
    above: bool | None = Field(description="whether it is at least the threshold")


class Searched(Face):
    matches: list[Match] = Field(description="the most similar faces of the index, best first")


class Matches(BaseModel):
    faces: list[Searched]
    threshold: float | None = Field(description="of the encoder's card; null if it has none")
    meaning: str = Field(description="how often such matches are right")


class Health(BaseModel):
    status: str
    encoder: str
    feature_dims: dict[str, int]
    classes: list[str] | None = Field(description="of the expressions; null without a probe")
    searched: int | None = Field(description="faces of the index; null without one")


class Failure(BaseModel):
    error: str = Field(description="one sentence")
