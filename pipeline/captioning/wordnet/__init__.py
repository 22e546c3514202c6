"""WordNet 3.0 scores without an installed WordNet: a small derived table is shipped beside this file."""

from pipeline.captioning.wordnet.score import WordNetSimilarity

__all__ = ["WordNetSimilarity"]
