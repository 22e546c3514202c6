"""Nearest-neighbour similarity of caption nouns, and what it keeps."""
