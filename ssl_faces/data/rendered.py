"""The former place of `ssl_faces.rendered`: configurations and runs of before name its classes."""

from ssl_faces.rendered import RenderedClips, RenderedFaces

__all__ = ["RenderedClips", "RenderedFaces"]
