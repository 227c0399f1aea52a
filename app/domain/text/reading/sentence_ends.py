"""Whether the point of an abbreviation also ends the sentence, by what comes after it."""

import re
from typing import Final

_STARTERS: Final = (
    "The|It|He|She|We|They|You|I|In|But|And|A|An|This|That|These|Those|There|Then|When|If|So|As|At|On"
    "|For|His|Her|Its|Our|Their|My|Your|What|Why|How|Who|Where|After|Before|Now|No|Yes|Not|Please|Let"
    "|However|Also|Turn|Take|Go|Call|See|Bring|Do|Is|Are|Was|Will|Can|Add|Mix|Stir|Bake|Cook|Serve|Remove"
    "|Pour|Use|Open|Click|Check|Once|Next|Finally|While|Some|All|Most|Both|Each|Every|Another|Meanwhile"
)
"""Words that begin a sentence more often than they follow an abbreviation inside one."""

_CAPITAL: Final = re.compile(r"\s+[\"'(]?[A-Z]")
_AFTER: Final = re.compile(rf"[\"')\]]*(?:\s*$|\s*\n|\s+[\"'(]?(?:{_STARTERS})\b)")


def ends_sentence(match: re.Match[str]) -> bool:
    """Whether a sentence ends behind `match`: the text does, or a word that begins one follows."""
    return _AFTER.match(match.string, match.end()) is not None


def ends_sentence_before_capital(match: re.Match[str]) -> bool:
    """The same of an abbreviation that never stands before a name, such as that of a unit."""
    return ends_sentence(match) or _CAPITAL.match(match.string, match.end()) is not None
