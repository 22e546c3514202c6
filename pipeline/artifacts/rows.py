"""A row of every table on disk; the columns on disk stand in schemas.py, in the same order."""

# No postponed annotations: `__required_keys__` would not see NotRequired.
from typing import NotRequired, TypedDict


class QueryRow(TypedDict):
    """A text to search for; `class_ids` are the classes it stands for, `shard` the part of the plan it belongs to."""

    query_id: str
    text: str
    kind: str
    class_ids: list[int]
    source_image_id: str
    shard: int


class SafetyColumns(TypedDict, total=False):
    """Score of the safety check (0 safe to 1) and the threshold it was held against; both None without an image."""

    safety_score: float | None
    safety_threshold: float | None


class IngestRow(TypedDict):
    """A candidate of a shard: where it was found, how it ended (`status`, `reason`), and what the bytes are."""

    image_id: str
    url: str
    final_url: str
    page_url: str
    query_id: str
    rank: int
    source: str
    licence: str
    creator: str
    title: str
    status: str
    reason: str
    http_status: int
    width: int
    height: int
    bytes: int
    phash: str
    fetched_at: str
    safety_score: NotRequired[float | None]
    safety_threshold: NotRequired[float | None]


class ManifestRow(TypedDict):
    """A candidate of a plan: its IngestRow, the shard it lies in, and the query that found it."""

    image_id: str
    url: str
    final_url: str
    page_url: str
    query_id: str
    rank: int
    source: str
    licence: str
    creator: str
    title: str
    status: str
    reason: str
    http_status: int
    width: int
    height: int
    bytes: int
    phash: str
    fetched_at: str
    shard: str
    query_text: str
    kind: str
    class_ids: list[int]
    source_image_id: str
    safety_score: NotRequired[float | None]
    safety_threshold: NotRequired[float | None]


class CaptionRow(TypedDict):
    """An image's caption, empty with a `reason`; `seconds` is its share of its batch."""

    image_id: str
    caption: str
    seconds: float
    model: str
    revision: str
    reason: str


class NounRow(TypedDict):
    """The nouns of an image's caption, in order."""

    image_id: str
    nouns: list[str]


class NounFilterRow(TypedDict):
    """What the noun filter decided of an image: best word, its target, cosine similarity, threshold."""

    image_id: str
    query_id: str
    role: str
    class_id: int
    caption: str
    nouns: list[str]
    labels: list[int]
    word: str
    target: str
    score: float
    threshold: float
    kept: bool
    reason: str


class NounComparisonRow(TypedDict):
    """What one similarity under one rule would decide of an image."""

    image_id: str
    class_ids: list[int]
    role: str
    similarity: str
    rule: str
    score: float
    kept: bool


class FourierRow(TypedDict):
    """The discriminator's verdict on an image; `score` is the logit of "from the data set"."""

    image_id: str
    class_id: int
    p_dataset: float
    p_web: float
    score: float
    threshold: float
    kept: bool
    reason: str


class NewClassRow(TypedDict):
    """A candidate of a new class under one combination of filters; `image` is an address."""

    image_id: str
    class_id: int
    filters: str
    labels: list[int]
    image: str
    rank: int
    noun_score: float
    fourier_score: float
    kept: bool
    reason: str


class ReplayRow(TypedDict):
    """A candidate of the caption queries; `class_ids` are those of its source image, `image` is an address."""

    image_id: str
    query_id: str
    source_image_id: str
    class_ids: list[int]
    image: str
    score: float
    threshold: float
    kept: bool
    reason: str


class PseudoLabelRow(TypedDict):
    """A replay image, the PNG of its channel ids, and the mean probability of the winning class (None if imported)."""

    image_id: str
    image: str
    label: str
    class_ids: list[int]
    confidence: float | None
    reason: str


class TrainRow(TypedDict):
    """An image to train on: where image and mask lie (no mask: ""), and its image-level class ids."""

    image_id: str
    role: str
    image: str
    mask: str
    labels: list[int]


class SaliencyRow(TypedDict):
    """Whether an image has a saliency map, or the reason why not."""

    image_id: str
    status: str
    reason: str
    seconds: float


class TruthRow(TypedDict):
    """What an image of the mini web really shows; the report alone reads it."""

    url: str
    kind: str
    query_class: int
    class_ids: list[int]
    style: str
    fault: str
    duplicate_of: str
    alt_is_misleading: bool
