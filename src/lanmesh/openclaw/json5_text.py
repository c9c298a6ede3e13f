"""read JSON5 with the place of each value in the text, so that an edit can leave all else as it is"""

import re
from dataclasses import dataclass, field

from lanmesh.errors import InvalidConfig

_SPACE = "\t\n\v\f\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
_TRIVIA = re.compile(rf"(?:[{_SPACE}]|//[^\n\r\u2028\u2029]*|/\*.*?\*/)*", re.DOTALL)
_NUMBER = re.compile(
    r"[+-]?(?:0[xX][0-9a-fA-F]+|Infinity|NaN|(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)", re.ASCII
)
_WORD = re.compile(r"(?:[\w$\u200c\u200d]|\\u[0-9a-fA-F]{4})+")
_STRING = re.compile(
    r"""(?x) "((?:[^"\\\n\r] | \\(?:\r\n|.))*)" | '((?:[^'\\\n\r] | \\(?:\r\n|.))*)' """, re.DOTALL
)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(\r\n|.))", re.DOTALL)
_SHORT = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "0": "\0"}
_SHORT |= dict.fromkeys(("\n", "\r", "\r\n", "\u2028", "\u2029"), "")  # a continued line
_LITERALS = {"true": True, "false": False, "null": None}
_DEEPEST = 200


@dataclass(slots=True, kw_only=True)
class Value:
    """A value: its text is `text[start:end]`."""

    start: int
    end: int = 0
    plain: str | bool | None = None
    """What a string, `true` or `false` says; `None` for all else."""


@dataclass(slots=True, kw_only=True)
class Member:
    """A member of an object, or an item of an array."""

    start: int
    """Of the key; of the value in an array."""
    value: Value
    key: str = ""
    comma: int | None = None
    """Where the comma after it stands, if one does."""

    @property
    def end(self) -> int:
        """Where it ends, without its comma."""
        return self.value.end


@dataclass(slots=True, kw_only=True)
class Container(Value):
    """An object or an array, brackets included."""

    is_object: bool
    members: list[Member] = field(default_factory=list)

    def find(self, key: str) -> Member | None:
        """Return the member that counts under that key: of several the last."""
        return next((member for member in reversed(self.members) if member.key == key), None)


def read(text: str) -> Value:
    """Return the value that a JSON5 text holds.

    Raises:
        InvalidConfig: It is no JSON5; the sentence names the line.
    """
    reader = _Reader(text)
    value = reader.value(skip(text, 0), 0)
    end = skip(text, value.end)
    if end != len(text):
        raise reader.wrong(end)
    return value


def skip(text: str, at: int) -> int:
    """Return where the white space and comments that begin here end."""
    found = _TRIVIA.match(text, at)
    return found.end() if found else at


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text

    def wrong(self, at: int) -> InvalidConfig:
        line = self._text.count("\n", 0, at) + 1
        what = f"unexpected {self._text[at]!r}" if at < len(self._text) else "unexpected end"
        return InvalidConfig(f"line {line}: {what}")

    def value(self, at: int, depth: int) -> Value:
        first = self._text[at : at + 1]
        if first and first in "{[":
            return self._container(at, depth)
        if first and first in "\"'":
            plain, end = self._string(at)
            return Value(start=at, end=end, plain=plain)
        for literal, meaning in _LITERALS.items():
            if (word := _WORD.match(self._text, at)) and word[0] == literal:
                return Value(start=at, end=word.end(), plain=meaning)
        if (number := _NUMBER.match(self._text, at)) and not _WORD.match(self._text, number.end()):
            return Value(start=at, end=number.end())
        raise self.wrong(at)

    def _container(self, at: int, depth: int) -> Container:
        if depth > _DEEPEST:
            raise self.wrong(at)
        container = Container(start=at, is_object=self._text[at] == "{")
        close = "}" if container.is_object else "]"
        at = skip(self._text, at + 1)
        while not self._text.startswith(close, at):
            member = self._member(at, depth, is_object=container.is_object)
            container.members.append(member)
            at = skip(self._text, member.end)
            if self._text.startswith(",", at):
                member.comma = at
                at = skip(self._text, at + 1)
            elif not self._text.startswith(close, at):
                raise self.wrong(at)
        container.end = at + 1
        return container

    def _member(self, at: int, depth: int, *, is_object: bool) -> Member:
        if not is_object:
            return Member(start=at, value=self.value(at, depth + 1))
        key, end = self._key(at)
        colon = skip(self._text, end)
        if not self._text.startswith(":", colon):
            raise self.wrong(colon)
        return Member(start=at, key=key, value=self.value(skip(self._text, colon + 1), depth + 1))

    def _key(self, at: int) -> tuple[str, int]:
        if self._text[at : at + 1] in {'"', "'"}:
            return self._string(at)
        word = _WORD.match(self._text, at)
        if word is None or word[0][0].isdecimal():
            raise self.wrong(at)
        return _unescaped(word[0]), word.end()

    def _string(self, at: int) -> tuple[str, int]:
        found = _STRING.match(self._text, at)
        if found is None:
            raise self.wrong(at)
        return _unescaped(found[1] if found[1] is not None else found[2]), found.end()


def _unescaped(raw: str) -> str:
    def meaning(found: re.Match[str]) -> str:
        code = found[1] or found[2]
        return chr(int(code, 16)) if code else _SHORT.get(found[3], found[3])

    plain = _ESCAPE.sub(meaning, raw)
    # Two escapes of a character beyond the first 65 536 make that one character.
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
