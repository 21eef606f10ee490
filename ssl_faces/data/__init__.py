"""Faces in: face sets on their owners' layouts, decoded one at a time to face samples."""

from ssl_faces.data.faces import (
    EXPRESSIONS,
    FacePair,
    FaceRecord,
    FaceSample,
    FaceSet,
    Part,
    Skipped,
    distinct_pairs,
    in_test_share,
    read_skipped,
    write_skipped,
)
from ssl_faces.data.pictures import PICTURE_SUFFIXES, BadPicture, decode_picture
from ssl_faces.data.sets.across import cross_database
from ssl_faces.data.sets.affectnet import AffectNet
from ssl_faces.data.sets.aflw2000 import AFLW2000
from ssl_faces.data.sets.biwi import Biwi
from ssl_faces.data.sets.cfp import CFP, CFPFrontal
from ssl_faces.data.sets.ckplus import CKPlus
from ssl_faces.data.sets.class_folders import ClassFolders
from ssl_faces.data.sets.cplfw import CPLFW
from ssl_faces.data.sets.discover import default_data_root, find_face_sets
from ssl_faces.data.sets.fer2013 import Fer2013
from ssl_faces.data.sets.ferplus import FERPlus
from ssl_faces.data.sets.folder import PictureFolder
from ssl_faces.data.sets.joined import JoinedFaces
from ssl_faces.data.sets.lfw import LFW
from ssl_faces.data.sets.oulucasia import OuluCasia
from ssl_faces.data.sets.rafdb import RafDb
from ssl_faces.data.sets.sfew import SFEW
from ssl_faces.data.sets.utkface import UTKFace
from ssl_faces.data.sets.w300lp import W300LP
from ssl_faces.data.sets.youtube_keypoints import YouTubeKeypoints

__all__ = [
    "AFLW2000",
    "CFP",
    "CPLFW",
    "EXPRESSIONS",
    "LFW",
    "PICTURE_SUFFIXES",
    "SFEW",
    "W300LP",
    "AffectNet",
    "BadPicture",
    "Biwi",
    "CFPFrontal",
    "CKPlus",
    "ClassFolders",
    "FERPlus",
    "FacePair",
    "FaceRecord",
    "FaceSample",
    "FaceSet",
    "Fer2013",
    "JoinedFaces",
    "OuluCasia",
    "Part",
    "PictureFolder",
    "RafDb",
    "Skipped",
    "UTKFace",
    "YouTubeKeypoints",
    "cross_database",
    "decode_picture",
    "default_data_root",
    "distinct_pairs",
    "find_face_sets",
    "in_test_share",
    "read_skipped",
    "write_skipped",
]
