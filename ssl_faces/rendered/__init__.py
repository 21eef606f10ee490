"""Rendered faces: a procedural 3D head with exact labels, the face set that needs no download.

A face is a row of named factors (`FACTORS`): the person, facial action units, pose, light, camera,
occluders. `render_faces` casts one ray per pixel against a tapered ellipsoid (the head), with
ellipsoids for nose, muzzle, ears and hair. Eyes, brows and mouth are curves in the head's frontal
plane, projected on that surface. `camera` is the exact camera, `project_landmarks` projects points
of the same curves and surfaces, and `counterpart` changes a face in one respect. `RenderedFaces` is
a face set of such faces, `RenderedClips` of frames of expressions that rise and fall.
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
