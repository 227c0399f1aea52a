"""What the rules share: patterns for numbers, what stands beside a match, how words join it.

`re` skips quickly to the place where a match may begin if the pattern begins with a set of
characters; a look-behind in front of it is tried at every character instead. So what must not
stand before a number is checked after its first figure.
"""

import re
from collections.abc import Callable, Iterable
from typing import Final

from app.domain.text.mapped_text import Rule, rule

NUMBER: Final = r"(?:[0-9]{1,3}(?:,[0-9]{3})++(?:\.[0-9]++)?|[0-9]++(?:\.[0-9]++)?|\.[0-9]++)"


def not_after(chars: str) -> str:
    """After the first character of a pattern: no letter, figure or one of `chars` before that."""
    return rf"(?<![\w{chars}].)"


def number(condition: str) -> str:
    """NUMBER, with a `condition` on what stands before it, such as `not_after`."""
    return (
        rf"[.0-9]{condition}(?:(?<=\.)[0-9]++|(?<=[0-9])"
        r"(?:[0-9]{0,2}(?:,[0-9]{3})++(?:\.[0-9]++)?|[0-9]*+(?:\.[0-9]++)?))"
    )


def any_of(words: Iterable[str]) -> str:
    """A pattern for one of `words`, the longest that fits; it checks the first character first."""
    by_first: dict[str, list[str]] = {}
    for word in sorted(words, key=lambda word: (word[0], -len(word))):
        by_first.setdefault(re.escape(word[0]), []).append(re.escape(word[1:]))
    branches = (f"{char}(?:{'|'.join(rests)})" for char, rests in by_first.items())
    return f"(?:{'|'.join(branches)})"


# DELETE, which no text has. It is of Latin-1: others make finding figures three times as slow.
JOINT: Final = "\x7f"


def spelled(letters: str) -> str:
    """Such as "USA" with a joint after each letter but the last."""
    return JOINT.join(letters)


def touches_word(match: re.Match[str]) -> bool:
    """Whether a letter or a figure stands right before the match."""
    return match.start() > 0 and match.string[match.start() - 1].isalnum()


def word_rule(pattern: str, rewrite: Callable[[re.Match[str]], str | None]) -> Rule:
    """The rule for `pattern` where no letter or figure stands right before the match."""
    return rule(pattern, lambda match: None if touches_word(match) else rewrite(match))


def before(pattern: re.Pattern[str], match: re.Match[str], max_chars: int) -> re.Match[str] | None:
    """What `pattern`, which is to end there, finds in so many characters before the match."""
    start = match.start()
    return pattern.search(match.string, max(0, start - max_chars), start)


def behind(pattern: re.Pattern[str], match: re.Match[str]) -> re.Match[str] | None:
    """What `pattern` finds right behind the match."""
    return pattern.match(match.string, match.end())


def apart(match: re.Match[str], words: str) -> str:
    """`words` with a space where the match has a letter or a figure right beside it."""
    gap = " " if touches_word(match) else ""
    following = match.string[match.end() : match.end() + 1]
    return f"{gap}{words}{' ' if following.isalnum() else ''}"


# Words that begin a sentence more often than they follow an abbreviation inside one.
_STARTERS: Final = (
    "The|It|He|She|We|They|You|I|In|But|And|A|An|This|That|These|Those|There|Then|When|If|So|As|At|On"
    "|For|His|Her|Its|Our|Their|My|Your|What|Why|How|Who|Where|After|Before|Now|No|Yes|Not|Please|Let"
    "|However|Also|Turn|Take|Go|Call|See|Bring|Do|Is|Are|Was|Will|Can|Add|Mix|Stir|Bake|Cook|Serve|Remove"
    "|Pour|Use|Click|Check|Once|Next|Finally|While|Some|All|Most|Both|Each|Every|Another|Meanwhile"
    "|Does|Did|Has|Have|Had|Would|Could|Should|Might|Must|Although|Though|Because|Since|Unless|Until"
    "|With|Without|From|By|To|Of|Or|Here|Over|Under|During|Despite|Through|Today|Tomorrow|Yesterday|Tonight"
    "|Later|Soon|Still|Even|Just|Only|Maybe|Perhaps|Thus|Therefore|Instead|Otherwise|Sadly|Luckily|Thanks"
    "|Thank|Sorry|Hello|Remember|Make|Keep|Try|Send|Give|Get|Put|Set|Let's|Don't|I'm|Many|More|Much|Several"
    "|Few|Other|Others|Any|Anyone|Everyone|Everybody|Nobody|Someone|Something|Everything|Nothing|People"
    "|One|Two|Three|Which|Whose|Whether|Together|Afterwards|Eventually|Originally|According|Guests|Everywhere"
    "|Grease|Cover|Heat|Combine|Whisk|Drain|Season|Repeat|Fold|Chill|Simmer|Boil|Preheat|Leave"
)
_CAPITAL: Final = re.compile(r"[\"')\]]*\s+[\"'(]?[A-Z]")
_AFTER: Final = re.compile(rf"[\"')\]]*(?:\s*$|\s*\n|\s+[\"'(]?(?:{_STARTERS})\b)")


def ends_sentence(match: re.Match[str]) -> bool:
    """Whether a sentence ends behind `match`: the text does, or a word that begins one follows."""
    return behind(_AFTER, match) is not None


def with_point(words: str, match: re.Match[str], *, before_names: bool = True) -> str:
    """`words`, and the point of the abbreviation where it also ends the sentence.

    One that does not stand `before_names`, such as that of a unit, ends it before any capital.
    """
    if not match[0].endswith("."):
        return words
    is_end = ends_sentence(match) or (not before_names and behind(_CAPITAL, match))
    return f"{words}." if is_end else words


# What is named by its measure with no article before it, too: "12V batteries".
_THINGS: Final = re.compile(
    r" (?:(?:batter(?:y|ie)|bag|bottle|jar|tank|bulb|charger|adapter|cable|monitor|screen|display"
    r"|TV|laptop|disk|SSD|race|hike|radius|tunnel|wall|pole|lens|tape|rope|hose|tablet|pill|capsule"
    r"|dose|vial|packet|pack|tub|motor|engine|heater|lamp|LED|panel|phone|camera|sensor|file|layer"
    r"|pipe|board|beam|rod|nail|screw|pan|pot|pizza|dumbbell|kettlebell|steak|turkey|truck|trailer|marathon"
    r"|loop|course|delay|interval|timer|timeout|window|warranty|lag|break|nap|video|clip|bike|wheel"
    r"|bill|note|coin|ticket|voucher|sprint|hurdle|relay)s?|dash|freestyle|backstroke"
    r"|run|ride|swim|walk)\b(?! (?:by|to|from|in|the|a)\b)"
)
_ARTICLE: Final = re.compile(r"(?<!\w)[Aa]n? \Z")
_NOUN: Final = re.compile(
    r" (?!(?:of|in|from|to|away|and|or|per|at|on|for|with|by|a|an|the|each|more|less|is|was|are"
    r"|were|than|as|if|but|ago|apart|below|above|under|over)\b)(?:[a-z]{2}|[A-Z]{2,5}\b)"
)


def is_before_noun(match: re.Match[str]) -> bool:
    """Whether "a" stands before the match and a noun behind it, or a thing that is so named."""
    return bool(behind(_THINGS, match) or (before(_ARTICLE, match, 4) and behind(_NOUN, match)))
