"""Rendered faces: a procedural 3D head with exact labels, the face set that needs no download.

A face is a row of named factors (`FACTORS`): who it is, which facial action units are on, the
pose, the light, the camera, what is in between. `render_faces` casts one ray a pixel against a
tapered ellipsoid (the head), with ellipsoids for nose, muzzle, ears and hair; eyes, brows and mouth
are curves in the head's frontal plane, laid on that surface. `camera` is the camera of it all, and
`project_landmarks` sends points of the same curves and surfaces through it; `counterpart` changes a
face in one respect. `RenderedFaces` lists such faces as a face set, `RenderedClips` frames of
expressions that come and go.
"""

from ssl_faces.rendered.camera import Camera, camera, pose_angles, pose_rotation
from ssl_faces.rendered.clips import RenderedClips, minimum_jerk
from ssl_faces.rendered.face_set import FOLDS, RenderedFaces
from ssl_faces.rendered.factors import (
    ACTION_UNITS,
    COUNTERPARTS,
    EXPRESSION_UNITS,
    FACTORS,
    OCCLUDERS,
    Factor,
    counterpart,
    mirrored,
)
from ssl_faces.rendered.labels import AFFECT, GROUPS, affect, groups
from ssl_faces.rendered.landmarks import landmarks_3d, project_landmarks, visible_landmarks
from ssl_faces.rendered.render import render_faces
from ssl_faces.rendered.sampling import Drawn, Nuisances, sample_factors

__all__ = [
    "ACTION_UNITS",
    "AFFECT",
    "COUNTERPARTS",
    "EXPRESSION_UNITS",
    "FACTORS",
    "FOLDS",
    "GROUPS",
    "OCCLUDERS",
    "Camera",
    "Drawn",
    "Factor",
    "Nuisances",
    "RenderedClips",
    "RenderedFaces",
    "affect",
    "camera",
    "counterpart",
    "groups",
    "landmarks_3d",
    "minimum_jerk",
    "mirrored",
    "pose_angles",
    "pose_rotation",
    "project_landmarks",
    "render_faces",
    "sample_factors",
    "visible_landmarks",
]
