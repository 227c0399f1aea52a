"""Rules follow one another."""

import re

from app.adapters.speech.soprano.text_rules import apply_rules


def test_a_rule_sees_what_the_one_before_has_written() -> None:
    rules = ((re.compile("a"), "b"), (re.compile("b+"), lambda match: str(len(match[0]))))
    assert apply_rules("aab c", rules) == "3 c"
