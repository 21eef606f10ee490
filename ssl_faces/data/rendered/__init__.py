"""Rendered faces: a procedural 3D head with exact labels, the face set that needs no download.

A face is a row of named factors (`FACTORS`): who it is, which facial action units are on, the
pose, the light, the camera. `render_faces` casts one ray a pixel against a tapered ellipsoid (the
head), with ellipsoids for nose, ears and hair; eyes, brows and mouth are curves in the head's
frontal plane, laid on that surface. `project_landmarks` sends points of the same curves and
surfaces through the same camera. `RenderedFaces` lists such faces as a face set.
"""

from ssl_faces.data.rendered.camera import CAMERA_DISTANCE, pose_rotation
from ssl_faces.data.rendered.face_set import FOLDS, RenderedFaces
from ssl_faces.data.rendered.factors import (
    ACTION_UNITS,
    EXPRESSION_UNITS,
    FACTORS,
    Factor,
    mirrored,
)
from ssl_faces.data.rendered.landmarks import landmarks_3d, project_landmarks
from ssl_faces.data.rendered.render import render_faces
from ssl_faces.data.rendered.sampling import sample_factors

__all__ = [
    "ACTION_UNITS",
    "CAMERA_DISTANCE",
    "EXPRESSION_UNITS",
    "FACTORS",
    "FOLDS",
    "Factor",
    "RenderedFaces",
    "landmarks_3d",
    "mirrored",
    "pose_rotation",
    "project_landmarks",
    "render_faces",
    "sample_factors",
]
