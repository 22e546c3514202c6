"""WordNet 3.0 scores without an installed WordNet: a compact table of all its nouns is shipped beside this file."""

from pipeline.captioning.wordnet.score import WordNetSimilarity

__all__ = ["WordNetSimilarity"]
