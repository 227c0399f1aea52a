"""Markdown, HTML and SSML out of a text: what remains are its paragraphs, one by one, and pauses.

Rules, no parser: a parser of Markdown knows no positions within a line, and reads prose as markup
where a listener would not ("2 * 3 * 4"). Nothing that a reader would see is lost.
"""

import re
from collections.abc import Iterator
from html import unescape
from typing import Final

import msgspec

from app.domain.text.mapped_text import MappedText, Span, rule
from app.domain.text.reading.matching import JOINT

MAX_PAUSE_S: Final = 10.0  # longest pause in seconds; a longer one that is asked for is cut to it

# Of `<break strength="..."/>`, which SSML leaves to the processor.
_WEAK_BREAKS_S: Final = {
    "none": 0.0, "x-weak": 0.1, "weak": 0.25, "medium": 0.5, "strong": 0.75, "x-strong": 1.0,
}  # fmt: skip


class Pause(msgspec.Struct, frozen=True):
    """Silence that was asked for."""

    duration_s: float  # its length in seconds, up to MAX_PAUSE_S
    start: int  # where in the original it was asked for
    end: int  # where that ends

    def span(self) -> Span:
        """What it stands for in the original."""
        return self.start, self.end


_BLOCK_TAGS: Final = (
    "br|p|div|li|ul|ol|h[1-6]|tr|table|thead|tbody|blockquote|section|article|header|footer|hr|dl|dt"
    "|dd|pre|speak|s|body|html|figure|figcaption|main|nav|aside|details|summary|option|select"
)
_INLINE_TAGS: Final = (
    "a|abbr|b|bdi|bdo|big|button|center|cite|code|data|del|dfn|em|font|i|img|input|ins|kbd|label|mark"
    "|nobr|q|rp|rt|ruby|samp|small|span|strike|strong|sub|sup|time|tt|u|var|wbr|head|meta|link|title"
    "|prosody|emphasis|voice|lang|audio|say-as|phoneme|desc|w|svg|path|video|source|iframe|amazon:\\w+"
)
_ATTRIBUTES: Final = r"(?:\s+[^<>=]{1,40}=[^<>]{0,1000}|\s+[a-z-]{1,20})?\s*"

_PARAGRAPH: Final = "\n\n"

_EMPTY_LINES: Final = rule("\n{3,}", "\n\n")  # end a paragraph like a single one
_LINE_ENDS: Final = rule(r"\r\n?|[\u2028\u2029\x0b\x0c\x85]", "\n")
_HIDDEN: Final = (
    rule(r"(?is)<(think|thinking|script|style)>(?:(?!<\1>).)*?</\1>", "\n"),
    rule(r"(?i)</?(?:think|thinking|script|style)>", "\n"),
    rule(r"(?s)<!--(?:(?!<!--).)*?-->", ""),
    rule(r"(?i)<!\[CDATA\[|\]\]>|<\?xml[^<>]*>|<!DOCTYPE[^<>]*>", ""),
)
_PAUSE: Final = re.compile(
    r"<break(?:\s[^<>]{0,200})?/?>(?:</break>)?|\[pause:? ?(\d{1,9}(?:\.\d{1,3})?) ?(m?s)?\]",
    re.IGNORECASE,
)
_PAUSE_TIME: Final = re.compile(r"(?i)time\s*=\s*[\"']?\s*\+?(\d{0,9}(?:\.\d{1,6})?)\s*(m?s)")
_PAUSE_STRENGTH: Final = re.compile(r"strength\s*=\s*[\"']?([a-z-]+)", re.IGNORECASE)


_TAGS: Final = (
    rule(
        r"(?i)<sub\s+alias\s*=\s*[\"']([^\"'<>]{0,200})[\"']\s*>[^<>]{0,1000}</sub>",
        lambda tag: tag[1],
    ),
    rule(  # a power; behind a word it is the number of a footnote
        r"(?i)<sup>(?:(?<=\b\w<sup>)|(?<=[\d)]<sup>)|(?<=\b[ckm]m<sup>))(-?\d{1,4}|[a-z])</sup>",
        lambda tag: f"^{tag[1]}",
    ),
    rule(rf"(?i)</?(?=[a-z])(?:{_BLOCK_TAGS}){_ATTRIBUTES}/?>", _PARAGRAPH),
    rule(rf"(?i)</?t[dh]{_ATTRIBUTES}/?>", ", "),
    rule(rf"(?i)</?(?=[a-z])(?:{_INLINE_TAGS}){_ATTRIBUTES}/?>", ""),
    rule(
        r"<((?:https?://|mailto:)[^<>\s]{1,2000}|[^<>\s@]{1,64}@[^<>\s@]{1,255})>",
        lambda link: f" {link[1].removeprefix('mailto:')} ",
    ),
    rule(r"</?([A-Za-z][\w.-]{1,40})/?>", lambda tag: f" {tag[1]} "),
)
_ENTITIES: Final = rule(
    r"&(?:[A-Za-z][A-Za-z0-9]{1,31}|#\d{1,7}|#[xX][0-9A-Fa-f]{1,6});",
    lambda entity: unescape(entity[0]).replace("\x00", ""),
)
_EMPHASIS: Final = rule(
    r"(?P<mark>\*\*\*?|\*(?<!\w.)(?<!\*.))(?=[^\s*])(?P<text>[^*]{0,1000}[^\s*])(?P=mark)(?!\*)"
    r"(?:(?<=\*\*)|(?!\w))",
    lambda match: match.span("text"),
)
_LINKS: Final = (
    # definitions of links, footnotes
    rule(
        r"(?m)^[ \t]*\[[^\[\]\n]{1,100}\]:[ \t]+(?:<[^<>\n]*>|[a-z]+:\S+|[./#]\S*|\w[\w-]*\.\S+)"
        r"(?:[ \t]+(?:\"[^\"\n]*\"|'[^'\n]*'|\([^()\n]*\)))?[ \t]*$",
        "",
    ),
    rule(r"\[\^[^\[\]\s]{1,40}\](?::[ \t])?", ""),
    rule(
        r"!?\[(?P<text>(?:[^\[\]\n]|\[[^\[\]\n]{0,200}\]){0,1000})\]"
        r"(?:\((?:<[^<>\n]{0,2000}>|(?:[^()\s\\<]|\\.|\([^()\s]{0,200}\)){0,2000})"
        r"(?:[ \t]+(?:\"[^\"\n]{0,300}\"|'[^'\n]{0,300}'))?\)|\[[^\[\]\n]{0,100}\])",
        lambda link: link.span("text"),
    ),
)
_INLINE: Final = (
    rule(  # a formula of its own; "$$" alone is a price
        r"\$\$(?=[A-Za-z\\(][^$]{0,999}[\\=^_])(?P<formula>[^$]{1,1000})\$\$",
        lambda match: match.span("formula"),
    ),
    rule(  # a formula between dollar signs; "$5 and $6" is none
        r"\$(?<![\w$\\].)(?P<formula>(?=[A-Za-z\\(])[^$\n]{0,200}[^$\s\\])\$(?![\w$])",
        lambda match: match.span("formula"),
    ),
    rule(r"\\(?=[\\`*_{}\[\]()#+.!~>|-])", ""),
    # emphasis in emphasis; what has no partner is silent where it stands
    _EMPHASIS,
    _EMPHASIS,
    rule(r"_(?:(?<![^\W_].)_*(?=\S)|(?<=\S.)_*(?![^\W_]))", ""),
    rule(r"~~+|`+", ""),
)

_FENCE: Final = re.compile(r"(?:```+|~~~+)")
_FENCE_LINE: Final = re.compile(rf"(?m)^[ \t>]*{_FENCE.pattern}(?P<rest>[^`\n]*)$")
# The name of a language or file behind the fence that opens code; prose there ends with a point.
_CODE_NAME: Final = re.compile(
    r"[ \t]*(?:[\w+#./-]*[\w+#/-])?(?:[ \t]+[\w.{-]+=[^\n`]*|[ \t]*\{[^\n`]*\})?[ \t]*"
)
_RULE: Final = re.compile(r"(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,}|={3,}|#+)")
_TABLE_RULE: Final = re.compile(r"\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?")
_QUOTE: Final = re.compile(r"(?:>(?![0-9=])[ \t]?)+")
_HEADING: Final = re.compile(r"#{1,6}[ \t]+")
_HEADING_END: Final = re.compile(r"[ \t]+#+$")
_BULLET: Final = re.compile(
    r"(?:[-*+\u2022\u2023\u25e6\u2043\u2013\u00b7][ \t]+|[\u2022\u2023\u25e6\u2043])"
    r"(?:\[[ xX]\][ \t]+)?"
)
_NUMBERED: Final = re.compile(r"(?:\d{1,3}[.)]|[a-zA-Z]\))(?=[ \t]+\S)")
_CELL_BORDER: Final = re.compile(r"[ \t]*\|[ \t]*")
_OUTER_BORDERS: Final = re.compile(r"^\|[ \t]*|[ \t]*\|$")
_ONLY_MARKS: Final = re.compile(r"[\s*_~`]*")

_FUNCTION_WORD: Final = re.compile(
    r"\b(?:a|an|the|to|of|in|on|at|by|for|from|with|and|or|but|as|is|are|was|were|be|been|that|which"
    r"|who|whose|this|these|those|his|her|its|their|our|my|your|into|than|then|if|not|no|has|have|had"
    r"|will|would|can|could|may|might|must|shall|should|between|about|after|before|under|over|near)$"
    r"|[,;\u2013\u2014&-]$"
)
_SENTENCE_END: Final = re.compile(r"[.!?\u2026:][\"'\u201d\u2019)\]]*$")
# Lines of at least so many characters look like a paragraph that was wrapped.
_WRAPPED_CHARS: Final = 45


def read_markup(
    text: str, *, is_markup: bool = True, begins_line: bool = True
) -> list[MappedText | Pause]:
    """The paragraphs, headings, items and rows of `text` in their order, and the pauses in it.

    Without `is_markup` only lines are told apart. A text that goes on in a line, and does not begin
    one, does not begin with a mark either.
    """
    mapped = MappedText.of(text.replace(JOINT, " "))  # which is ours
    if not is_markup:
        return list(_paragraphs(mapped, is_markup=False))
    if not begins_line:
        mapped = MappedText.join([MappedText(JOINT, [0]), mapped])  # which is dropped later
    mapped = mapped.sub(*_LINE_ENDS)
    if "<" in mapped.text:  # most texts have no tag, and need not be searched for each of them
        mapped = mapped.apply(_HIDDEN)
    parts: list[MappedText | Pause] = []
    last = 0
    for match in _PAUSE.finditer(mapped.text):
        parts += _paragraphs(mapped[last : match.start()], is_markup=True)
        last = match.end()
        if duration_s := _duration_s(match):
            parts.append(Pause(duration_s, *mapped[match.start() : last].span()))
    return [*parts, *_paragraphs(mapped[last:], is_markup=True)]


def _duration_s(match: re.Match[str]) -> float:
    number, unit = match[1], match[2] or "s"
    if not number and (time := _PAUSE_TIME.search(match[0])) and time[1].strip("."):
        number, unit = time[1], time[2]
    if number:
        return min(MAX_PAUSE_S, float(number) / (1000 if unit.lower() == "ms" else 1))
    strength = _PAUSE_STRENGTH.search(match[0])
    return _WEAK_BREAKS_S.get(strength[1].lower() if strength else "medium", 0.5)


def _without_fences(mapped: MappedText) -> MappedText:
    """Without the fences around code, and what names it; prose behind a fence is read."""
    if "```" not in mapped.text and "~~~" not in mapped.text:
        return mapped
    is_code = False

    def rewrite(fence: re.Match[str]) -> str | Span:
        nonlocal is_code
        is_code = not is_code
        is_name = is_code and _CODE_NAME.fullmatch(fence["rest"])
        return "" if is_name else fence.span("rest")

    return mapped.sub(_FENCE_LINE, rewrite)


def _paragraphs(mapped: MappedText, *, is_markup: bool) -> Iterator[MappedText]:
    if is_markup:
        mapped = _without_fences(mapped).apply(_LINKS)
        if "<" in mapped.text:
            mapped = mapped.apply(_TAGS)
        mapped = mapped.sub(*_ENTITIES).apply(_INLINE)
    under_way: list[MappedText] = []
    is_heading = False
    for line in mapped.sub(*_EMPTY_LINES).split("\n"):
        was_heading, is_own, is_heading = is_heading, False, False
        if is_markup and len(line):
            line, is_own, is_heading = _without_marks(line)  # noqa: PLW2901
        begins = was_heading or is_own or not len(line)
        if under_way and (begins or not goes_on(under_way[-1].text, line.text)):
            yield _joined(under_way)
            under_way = []
        if len(line):
            under_way.append(line)
    if under_way:
        yield _joined(under_way)


def _without_marks(line: MappedText) -> tuple[MappedText, bool, bool]:
    """The line without marks; whether it is of its own; whether nothing continues it."""
    text, is_own = line.text, False
    is_row = text.count("|") > 1 or (text.startswith("|") and len(text) > 1)
    if _RULE.fullmatch(text) or (is_row and _TABLE_RULE.fullmatch(text)):
        return line[:0], True, True
    if is_row:
        return line.sub(_OUTER_BORDERS, "").sub(_CELL_BORDER, ", ").strip(), True, True
    if quote := _QUOTE.match(text):
        line = line[quote.end() :].strip()
    if heading := _HEADING.match(line.text):
        return line[heading.end() :].sub(_HEADING_END, "").strip(), True, True
    if bullet := _BULLET.match(line.text):
        line, is_own = line[bullet.end() :].strip(), True
    if _ONLY_MARKS.fullmatch(line.text):
        return line[:0], is_own, False
    if numbered := _NUMBERED.match(line.text):
        end, text = numbered.end(), line.text
        line, is_own = MappedText(f"{text[: end - 1]},{text[end:]}", line.packed), True
    return line, is_own, False


def begins_item(line: str) -> bool:
    """Whether a line begins with the mark of a heading, an item, a quotation or a row."""
    begins = (_HEADING, _BULLET, _NUMBERED, _QUOTE, _FENCE)
    return line.startswith("|") or any(mark.match(line) for mark in begins)


def goes_on(line: str, following: str) -> bool:
    """Whether `following` is still of the same sentence as the line before: hard-wrapped text."""
    if len(line) >= _WRAPPED_CHARS or _SENTENCE_END.search(line):
        return len(line) >= _WRAPPED_CHARS
    return following[0].islower() or _FUNCTION_WORD.search(line) is not None


_BROKEN_WORD: Final = re.compile(r"(?<=[^\W\d_])[-\u2010\u00ad]$")
# First halves of words that keep their hyphen.
_HYPHENATED: Final = re.compile(
    r"\b(?:twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|self|well|non|ex|half|mid|cross"
    r"|high|low|long|short|full|all)-$",
    re.IGNORECASE,
)


def _joined(lines: list[MappedText]) -> MappedText:
    """One paragraph of lines; a word that was broken at the end of a line is whole again."""
    runs = [[lines[0]]]
    for line in lines[1:]:
        last = runs[-1][-1]
        if line.text[0].islower() and _BROKEN_WORD.search(last.text):
            is_hyphenated = _HYPHENATED.search(last.text)
            runs[-1][-1:] = [last if is_hyphenated else last[:-1], line]
        else:
            runs.append([line])
    return MappedText.join((MappedText.join(run) for run in runs), " ")
