"""Packs: faces decoded once, stored in shards, fetched ahead of use."""
