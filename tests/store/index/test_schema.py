"""The tables have the columns and tokens that ``dicom.attributes`` names."""

import re

import pytest

from leadglass.dicom.attributes import plain_columns, token_fields
from leadglass.dicom.models import Level
from leadglass.store.index.schema import MIGRATIONS

CHECKSUMS = {
    1: "5dd18d8601ec4493f23d9ed71da3b625996cd4c739b637eec44ce178d98c2e71",
    2: "1cb5747ea3ba0d5b6860fdcc3be75ef5cdb88fa85c67c4a9607b9e8d378e6bdb",
}
"""Of every migration that was released: one that is edited afterwards would lock sites out of their index."""


@pytest.mark.parametrize(
    ("table", "levels"),
    [
        ("study", (Level.PATIENT, Level.STUDY)),
        ("series", (Level.SERIES,)),
        ("instance", (Level.IMAGE,)),
    ],
)
def test_every_plain_attribute_has_its_column(table: str, levels: tuple[Level, ...]) -> None:
    statements = " ".join(s for m in MIGRATIONS for s in m.statements if f"TABLE {table} " in s)
    held = dict(re.findall(r'"?(\w+)"? \{(\w+)\}', statements))
    for attribute in plain_columns(*levels):
        assert held[attribute.column] == ("int" if attribute.is_integer else "text")


def test_no_instance_has_tokens() -> None:
    """There is no table for them: tokens of every instance would cost more than all else."""
    assert not token_fields(Level.IMAGE)


def test_no_migration_was_edited() -> None:
    assert {m.number: m.checksum for m in MIGRATIONS} == CHECKSUMS
