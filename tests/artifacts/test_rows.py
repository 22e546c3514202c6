"""The type of a row and the columns on disk are one statement in two words: they must agree."""

from typing import Any, get_type_hints

import pyarrow as pa
import pytest

from pipeline import artifacts
from pipeline.artifacts import MANIFEST, SAFETY, Table, image_address, image_id_of

TABLES = {name: value for name, value in vars(artifacts).items() if isinstance(value, Table)}
ARROW: dict[Any, tuple[pa.DataType, ...]] = {
    str: (pa.string(),),
    int: (pa.int32(), pa.int64()),
    float: (pa.float32(),),
    float | None: (pa.float32(),),
    bool: (pa.bool_(),),
    list[int]: (pa.list_(pa.int32()),),
    list[str]: (pa.list_(pa.string()),),
}


@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_row_is_what_the_columns_are(name: str) -> None:
    table = TABLES[name]
    types = get_type_hints(table.row)
    # The safety columns may be there or not.
    required = [key for key in types if key in table.row.__required_keys__ or table is SAFETY]
    assert required == table.names
    assert set(types) - set(required) <= set(SAFETY.names)
    for column in table.schema:
        assert column.type in ARROW[types[column.name]], column


def test_every_table_is_exported_with_a_row_of_its_own() -> None:
    assert len(TABLES) == 15 and MANIFEST in TABLES.values()
    assert len({table.row for table in TABLES.values()}) == 15


def test_an_address_names_shard_and_image() -> None:
    address = image_address("data/web/mini/shards/base-00000.tar", "ab12")
    assert address == "data/web/mini/shards/base-00000.tar::ab12.jpg"
    assert image_id_of(address) == "ab12"
