"""What README says in tables is what the package's tables say."""
import pytest

from documents.tables import README, RENEW, renewed


def test_the_tables_are_those_of_the_package() -> None:
    text = README.read_text(encoding="utf-8")
    assert text == renewed(text), f"renew them: {RENEW}"


def test_a_table_is_renewed_and_all_else_stays() -> None:
    text = README.read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith("| `suppressed "))
    assert renewed(text.replace(row + "\n", "")) == text
    assert renewed(text.replace(row, row.replace("warning", "error"))) == text
    assert renewed(text + "\n| other | table |\n") == text + "\n| other | table |\n"


def test_a_table_without_a_place_is_an_error() -> None:
    with pytest.raises(ValueError, match="line"):
        renewed("# mxallowd\n")
