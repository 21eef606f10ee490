"""Faces in: face sets on their owners' layouts, decoded one at a time to face samples."""

from ssl_faces.data.discover import default_data_root, find_face_sets
from ssl_faces.data.faces import (
    EXPRESSIONS,
    FacePair,
    FaceRecord,
    FaceSample,
    FaceSet,
    Part,
    Skipped,
    in_test_share,
    write_skipped,
)
from ssl_faces.data.fer2013 import Fer2013
from ssl_faces.data.folder import PictureFolder
from ssl_faces.data.lfw import LFW
from ssl_faces.data.pictures import PICTURE_SUFFIXES, BadPicture, decode_picture
from ssl_faces.data.utkface import UTKFace
from ssl_faces.data.youtube_keypoints import YouTubeKeypoints

__all__ = [
    "EXPRESSIONS",
    "LFW",
    "PICTURE_SUFFIXES",
    "BadPicture",
    "FacePair",
    "FaceRecord",
    "FaceSample",
    "FaceSet",
    "Fer2013",
    "Part",
    "PictureFolder",
    "Skipped",
    "UTKFace",
    "YouTubeKeypoints",
    "decode_picture",
    "default_data_root",
    "find_face_sets",
    "in_test_share",
    "write_skipped",
]
