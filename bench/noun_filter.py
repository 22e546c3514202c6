"""The noun filter against the released algorithm re-expressed, and a million caption rows.

python -m bench.noun_filter pairs                  # seconds per pair of words, ours against released, same pairs
python -m bench.noun_filter rows --rows 1000000    # seconds and peak memory, every run in a process of its own

Before the rows are timed, a process of its own embeds the vocabulary into the cache on disk, as any earlier run of the
filter would have; the timed process reads it from there, and the clock covers all that the filter then does.

The released code recounts the longest hypernym path over all of WordNet for every pair of words. Here that recount
walks the 82,115 nouns of our own reader (theirs walks 117,659 synsets of all parts of speech through NLTK's objects,
which is slower), so that the ratio is a lower bound. It is timed on a few pairs and extrapolated to the others.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.captioning.authors.files import CLASS_NAMES
from pipeline.captioning.wordnet import WordNetSimilarity
from pipeline.captioning.wordnet.reader import WordNet
from pipeline.captioning.wordnet.score import TABLE

SHARD = 10_000
VOCABULARY = 10_000


def frequent_nouns(count: int) -> list[str]:
    """Return single words of WordNet, every word of the class vocabulary first."""
    from pipeline.captioning.vocabulary import Vocabulary

    own = [word for words in Vocabulary.load().words.values() for word in words if " " not in word]
    rng = np.random.default_rng(0)
    others = [word for word in WordNet.table(TABLE).first if word.isalpha() and len(word) < 9]
    return list(dict.fromkeys([*own, *rng.permutation(others).tolist()]))[:count]


def released_score(wordnet: WordNet, first: str, second: str) -> float:
    """Return the score as the released code finds it: the longest path recounted, nothing remembered."""
    longest = max(max(map(len, paths(wordnet, synset))) for synset in range(len(wordnet.parents)))
    vectors = [released_vector(wordnet, word, longest) for word in (first, second)]
    with np.errstate(invalid="ignore"):
        a, b = (vector / vector.max() for vector in vectors)
        return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def paths(wordnet: WordNet, synset: int) -> list[list[int]]:
    """Return every path from a synset to the root."""
    above = [path for parent, _ in wordnet.parents[synset] for path in paths(wordnet, parent)]
    return [[*path, synset] for path in above] or [[synset]]


def released_vector(wordnet: WordNet, word: str, longest: int) -> Any:
    """Return the histogram of depths of a word's hypernyms."""
    vector = np.zeros(longest)
    lemma = wordnet.lemma(word)
    for synset in hypernyms(wordnet, wordnet.first[lemma]) if lemma else ():
        depth = max(map(len, paths(wordnet, synset))) - 1
        vector[depth] += 0.05 * depth
    return vector


def hypernyms(wordnet: WordNet, synset: int) -> set[int]:
    """Return the transitive hypernyms, instances not followed."""
    found = {parent for parent, instance in wordnet.parents[synset] if not instance}
    return found.union(*(hypernyms(wordnet, parent) for parent in found))


def bench_pairs(timed: int, ours: int) -> None:
    """Print seconds per pair of both, and check that they agree on the timed pairs."""
    rng = np.random.default_rng(1)
    nouns = frequent_nouns(VOCABULARY)
    pairs = [(str(a), str(b)) for a, b in zip(rng.choice(nouns, ours), rng.choice(CLASS_NAMES, ours), strict=True)]
    wordnet, similarity = WordNet.table(TABLE), WordNetSimilarity(identity=False)
    similarity.score("dog", "cat")
    start = time.process_time()
    found = [similarity.score(*pair) for pair in pairs]
    own = (time.process_time() - start) / len(pairs)
    start = time.process_time()
    released = [released_score(wordnet, *pair) for pair in pairs[:timed]]
    theirs = (time.process_time() - start) / timed
    for pair, a, b in zip(pairs, found, released, strict=False):
        assert (math.isnan(a) and math.isnan(b)) or abs(a - b) < 1e-9, (pair, a, b)
    print(f"released algorithm: {theirs:.2f} CPU seconds per pair ({timed} pairs timed, equal scores)")
    print(f"ours: {1e6 * own:.1f} CPU microseconds per pair ({len(pairs)} pairs, words looked up for the first time)")
    print(f"ratio: {theirs / own:,.0f}")
    print(f"extrapolated: the released algorithm would take {theirs * len(pairs) / 3600:,.0f} hours for these pairs")


def write_tables(folder: Path, rows: int, shard: int = SHARD, vocabulary: int = VOCABULARY) -> None:
    """Write manifest, captions and nouns of `rows` candidates in shards, and a protocol."""
    from pipeline.artifacts import MANIFEST, table_writer
    from pipeline.datasets.protocol_file import Protocol, save_protocol
    from pipeline.datasets.readers.class_names import VOC

    names = {i: name for i, name in enumerate(VOC) if i}
    steps = (tuple(range(21)),)
    save_protocol(folder / "protocol.json", Protocol("voc", "joint", "overlap", 0, steps, steps[0], names, (), ()))
    rng = np.random.default_rng(2)
    nouns = np.array(frequent_nouns(vocabulary))
    weights = 1 / np.arange(1, len(nouns) + 1)
    with table_writer(folder / "manifest.parquet", MANIFEST) as write:
        for start in range(0, rows, shard):
            count = min(shard, rows - start)
            ids = [hashlib.sha256(str(start + i).encode()).hexdigest() for i in range(count)]
            blank: dict[str, list[Any]] = {name: [""] * count for name in MANIFEST.names}
            numbers = {name: [1] * count for name in ("rank", "http_status", "width", "height", "bytes")}
            classes = [[int(c)] for c in rng.integers(16, 21, count)]
            write({**blank, **numbers, "image_id": ids, "status": ["kept"] * count, "class_ids": classes})
            words = rng.choice(nouns, size=(count, 3), p=weights / weights.sum()).tolist()
            write_texts(folder, f"{start:09d}", ids, words)


def write_texts(folder: Path, shard: str, ids: list[str], words: list[list[str]]) -> None:
    """Write the captions and nouns of a shard."""
    from pipeline.artifacts import CAPTIONS, NOUNS, table_writer

    count = len(ids)
    with table_writer(folder / f"captions{shard}.parquet", CAPTIONS) as write:
        texts = [f"a {a} with a {b} next to the {c} in the background" for a, b, c in words]
        more = {"model": [""] * count, "revision": [""] * count, "reason": [""] * count}
        write({"image_id": ids, "caption": texts, "seconds": [0.0] * count, **more})
    with table_writer(folder / f"nouns{shard}.parquet", NOUNS) as write:
        write({"image_id": ids, "nouns": words})


def filter_rows(folder: Path, similarity: str, cache: str) -> None:
    """Filter the tables of `write_tables` once."""
    from pipeline.captioning.noun_filter.judge import filter_nouns
    from pipeline.captioning.noun_filter.texts import Texts
    from pipeline.config import NounFilter

    captions, nouns = (sorted(folder.glob(f"{name}*.parquet")) for name in ("captions", "nouns"))
    settings = NounFilter(similarity=similarity, cache=cache)  # type: ignore[arg-type]
    texts = Texts.read(captions, nouns)
    filter_nouns("new", folder / "manifest.parquet", texts, folder / "protocol.json", settings, folder / "out.parquet")


def embed_vocabulary(cache: str) -> None:
    """Put the vectors of the words of `write_tables`, and of the class words, into the cache."""
    from pipeline.captioning.noun_filter.similarity import build
    from pipeline.captioning.vocabulary import Vocabulary

    classes = [word for words in Vocabulary.load().words.values() for word in words]
    words = list(dict.fromkeys([*frequent_nouns(VOCABULARY), *classes]))
    start, cpu = time.monotonic(), time.process_time()
    build("embedding", "", cache).learn(words)
    spent = f"{time.monotonic() - start:.1f} seconds, {time.process_time() - cpu:.1f} CPU seconds"
    print(f"{len(words)} words embedded into the cache in {spent}, not counted below", flush=True)


def run_rows(folder: Path, similarity: str, cache: str) -> None:
    """Filter once and print the figures as JSON; runs in a process of its own, so that peak memory is its own."""
    from pipeline.artifacts import count_rows

    rows = count_rows(folder / "manifest.parquet")
    start, cpu = time.monotonic(), time.process_time()
    filter_rows(folder, similarity, cache)
    figures = {
        "rows": rows,
        "similarity": similarity,
        "wall_seconds": round(time.monotonic() - start, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    print(json.dumps(figures), flush=True)


def bench_rows(rows: int, similarities: list[str], cache: str = "") -> None:
    """Print the figures of a tenth of the rows and of all of them."""
    with tempfile.TemporaryDirectory() as scratch:
        cache = cache or str(Path(scratch) / "vectors")
        own = [sys.executable, "-m", "bench.noun_filter"]
        if "embedding" in similarities:
            subprocess.run([*own, "embed", "--cache", cache], check=True, stderr=subprocess.DEVNULL)
        for count in (rows // 10, rows):
            folder = Path(scratch) / str(count)
            folder.mkdir()
            write_tables(folder, count)
            for similarity in similarities:
                command = [*own, "run", "--folder", str(folder), "--cache", cache, "--similarity", similarity]
                subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["pairs", "rows", "embed", "run"])
    parser.add_argument("--timed", type=int, default=20, help="pairs: how many the released algorithm is timed on")
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--similarity", nargs="+", default=["embedding", "wordnet", "wordnet_hypernyms"])
    parser.add_argument("--folder", type=Path, help="run: what `rows` wrote")
    parser.add_argument("--cache", default="", help="folder of the vectors, to keep them for another time")
    arguments = parser.parse_args()
    if arguments.what == "pairs":
        bench_pairs(arguments.timed, arguments.pairs)
    elif arguments.what == "embed":
        embed_vocabulary(arguments.cache)
    elif arguments.what == "run":
        run_rows(arguments.folder, arguments.similarity[0], arguments.cache)
    else:
        bench_rows(arguments.rows, arguments.similarity, arguments.cache)


if __name__ == "__main__":
    main()
