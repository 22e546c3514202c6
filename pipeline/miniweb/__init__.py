"""The embedded default: a drawn data set, a small web on loopback, and a tiny captioner."""

STAGE_VERSION = 2
