"""Identification by moving faces: graphs of 3D landmarks over time (Face-GCN).

Papadopoulos, Kacem, Shabayek, Aouada: Face-GCN: A Graph Convolutional Network for 3D Dynamic Face
Identification/Recognition, 2021. The network is Yan, Xiong, Lin: Spatial Temporal Graph
Convolutional Networks for Skeleton-Based Action Recognition, AAAI 2018.
"""
