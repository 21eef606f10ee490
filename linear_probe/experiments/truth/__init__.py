"""Faces that methods edit, compared with the truth that only rendered faces have.

Neutral faces, frontal faces and swapped identities are compared with renderings of just that, and
stand in tables beside what is to be had without a method, and beside the same method untrained.
"""
