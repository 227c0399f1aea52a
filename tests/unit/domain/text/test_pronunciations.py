import pytest

from app.domain.errors import InvalidRequestError
from app.domain.text.mapped_text import MappedText
from app.domain.text.pronunciations import Pronunciations


@pytest.mark.parametrize(
    ("word", "respelling"),
    [
        ("", "a"),
        (" a", "a"),
        ("a" * 101, "a"),
        ("a", ""),
        ("a", "b1"),
        ("a", "b."),
        ("a", "b" * 201),
    ],
)
def test_what_is_no_word_or_no_respelling_is_refused(word: str, respelling: str) -> None:
    with pytest.raises(InvalidRequestError):
        Pronunciations({word: respelling})


def test_those_of_a_request_count_before_those_of_the_server() -> None:
    server = Pronunciations({"gif": "jif", "ml": "em ell"})
    assert server.merged(Pronunciations({"gif": "ghif"})).respellings == {
        "gif": "ghif",
        "ml": "em ell",
    }


def test_the_longest_word_counts() -> None:
    said = Pronunciations({"new": "noo", "new york": "noo yawrk"})
    text = said.apply(MappedText.of("New York is new"))
    assert text.text == "noo yawrk is noo"
    assert text[:1].span() == (0, 8)
