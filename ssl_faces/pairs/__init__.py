"""Pairs of faces for pretraining: order, augmentation, loader, data module."""
