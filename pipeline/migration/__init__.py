"""Taking over what users of the original repositories have: checkpoints and replay folders.

Split lists need no import: `datasets.lists` names their folder, `compare-splits` compares them.
"""
