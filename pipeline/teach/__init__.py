"""Teaches a finished model classes by their names. `webseg teach --help`, docs/teach.md."""

STAGE_VERSION = 1
