"""register the plugin in the text of an OpenClaw config, and take it out again, all else byte for byte"""

import json
import re
from collections.abc import Sequence

from lanmesh.errors import InvalidConfig
from lanmesh.openclaw.json5_text import Container, Member, Value, read, skip

PLUGIN_ID = "openclaw-lan-mesh"

_LINE_BEFORE = re.compile(r"\r?\n[ \t]*\Z")

Section = Sequence[str]
"""Keys that lead to the plugins section: `("plugins",)`; none where the whole file is that section."""


def registered(text: str, plugin_dir: str, section: Section = ("plugins",)) -> str:
    """Return the text with the plugin's folder among the load paths and the plugin enabled.

    A list of allowed plugins gets its id as well; an empty one allows all, and stays empty.

    Raises:
        InvalidConfig: The text is no JSON5, or something that is no object or list is in the way.
    """
    if plugin_dir not in load_paths(text, section):
        text = _with_item(text, [*section, "load", "paths"], plugin_dir)
    allowed = _strings(text, [*section, "allow"])
    if allowed and PLUGIN_ID not in allowed:
        text = _with_item(text, [*section, "allow"], PLUGIN_ID)
    return _with_flag(text, [*section, "entries", PLUGIN_ID], value=True)


def unregistered(text: str, plugin_dir: str, section: Section = ("plugins",), *, forget: bool = False) -> str:
    """Return the text without the plugin; the user's config for it stays, disabled.

    Args:
        text: The config.
        plugin_dir: What `registered` put among the load paths.
        section: Where the plugins section is.
        forget: Whether the user's config for the plugin goes as well.

    Raises:
        InvalidConfig: The text is no JSON5, or something that is no object or list is in the way.
    """
    path = [*section, "entries", PLUGIN_ID]
    entry = _find(text, path)
    own = entry.members if isinstance(entry, Container) else []
    if entry is not None and (forget or all(member.key == "enabled" for member in own)):
        text = _without(text, path)
    elif entry is not None:
        text = _with_flag(text, path, value=False)
    # The last one allowed stays: an empty list would allow every plugin there is.
    if len(_strings(text, [*section, "allow"])) > 1:
        text = _without(text, [*section, "allow"], PLUGIN_ID)
    return _without(text, [*section, "load", "paths"], plugin_dir)


def load_paths(text: str, section: Section = ("plugins",)) -> list[str]:
    """Return the folders and files that plugins are loaded from."""
    return _strings(text, [*section, "load", "paths"])


def included(text: str) -> str | None:
    """Return the file that holds the whole plugins section, if the config says so by `$include`."""
    plugins = _find(text, ["plugins"])
    if not isinstance(plugins, Container) or [member.key for member in plugins.members] != ["$include"]:
        return None
    named = plugins.members[0].value.plain
    return named if isinstance(named, str) else None


def obstacles(text: str, section: Section = ("plugins",)) -> list[str]:
    """Return the settings that keep the plugin from loading although it is registered."""
    enabled = _find(text, [*section, "enabled"])
    found = [] if enabled is None or enabled.plain is not False else ["plugins.enabled"]
    return found + (["plugins.deny"] if PLUGIN_ID in _strings(text, [*section, "deny"]) else [])


def is_empty(text: str) -> bool:
    """Return whether a config says nothing, not even in a comment."""
    return re.sub(r"\s", "", text) == "{}"


def _root(text: str) -> Container:
    root = read(text)
    if not isinstance(root, Container) or not root.is_object:
        raise InvalidConfig("line 1: the config is no object")
    return root


def _trail(text: str, path: Sequence[str]) -> tuple[list[Container], Value | None]:
    """Return the objects along a path, as far as there are any, and what is at its end."""
    trail: list[Container] = [_root(text)]
    for depth, key in enumerate(path, start=1):
        member = trail[-1].find(key)
        if member is None:
            return trail, None
        if depth == len(path):
            return trail, member.value
        if not isinstance(member.value, Container) or not member.value.is_object:
            raise InvalidConfig(f"{'.'.join(path[:depth])} is no object")
        trail.append(member.value)
    return trail, trail[-1]


def _find(text: str, path: Sequence[str]) -> Value | None:
    return _trail(text, path)[1]


def _list(text: str, path: Sequence[str]) -> Container | None:
    found = _find(text, path)
    if found is not None and (not isinstance(found, Container) or found.is_object):
        raise InvalidConfig(f"{'.'.join(path)} is no list")
    return found


def _strings(text: str, path: Sequence[str]) -> list[str]:
    found = _list(text, path)
    plain = [member.value.plain for member in found.members] if found else []
    return [value for value in plain if isinstance(value, str)]


def _with_item(text: str, path: Sequence[str], item: str) -> str:
    found = _list(text, path)
    return _with_new(text, path, [item]) if found is None else _appended(text, found, "", item)


def _with_flag(text: str, path: Sequence[str], *, value: bool) -> str:
    found = _find(text, path)
    if found is None:
        return _with_new(text, path, {"enabled": value})
    if not isinstance(found, Container) or not found.is_object:
        raise InvalidConfig(f"{'.'.join(path)} is no object")
    flag = found.find("enabled")
    if flag is None:
        return _appended(text, found, "enabled", value)
    if flag.value.plain is value:
        return text
    return text[: flag.value.start] + json.dumps(value) + text[flag.end :]


def _with_new(text: str, path: Sequence[str], value: object) -> str:
    """Return the text with a value at a path where nothing is, and the objects that lead to it."""
    trail, _ = _trail(text, path)
    for key in reversed(path[len(trail) :]):
        value = {key: value}
    return _appended(text, trail[-1], path[len(trail) - 1], value)


def _appended(text: str, container: Container, key: str, value: object) -> str:
    """Return the text with one member more, written in the manner of its neighbours.

    What is written, `_removed` can tell: a space after the only member marks a container that was
    there before it, a comma after the last one was there before it.
    """
    label = f"{json.dumps(key, ensure_ascii=False)}: " if container.is_object else ""
    if not container.members:
        at = container.start + 1
        return text[:at] + label + json.dumps(value, ensure_ascii=False) + " " + text[at:]
    last = container.members[-1]
    after_last = last.end if last.comma is None else last.comma + 1
    at = _end_of_line(text, after_last)
    lead, written = " ", json.dumps(value, ensure_ascii=False)
    if text[at] in "\r\n":
        newline = "\r\n" if text.startswith("\r\n", at) else "\n"
        indent = _indent(text, last.start)
        unit = _indent(text, _root(text).members[0].start) or "  "
        lines = json.dumps(value, ensure_ascii=False, indent=unit).split("\n")
        lead, written = newline + indent, (newline + indent).join(lines)
    if last.comma is not None:
        return text[:at] + lead + label + written + "," + text[at:]
    return text[: last.end] + "," + text[last.end : at] + lead + label + written + text[at:]


def _end_of_line(text: str, at: int) -> int:
    """Return where the rest of a member's line ends: comments belong to it, the next bracket does not."""
    end = skip(text, at)
    place = at
    while place < end:
        if text[place] in "\r\n":
            return place
        if text.startswith("//", place):
            return re.compile(r"[\r\n\u2028\u2029]|\Z").search(text, place).start()  # type: ignore[union-attr]
        if text.startswith("/*", place):
            place = at = text.index("*/", place) + 2
        else:
            place += 1
    return at


def _indent(text: str, at: int) -> str:
    """Return the white space that the line at this place begins with."""
    begin = max(text.rfind("\n", 0, at), text.rfind("\r", 0, at)) + 1
    found = re.compile(r"[ \t]*").match(text, begin, at)
    return found[0] if found else ""


def _without(text: str, path: Sequence[str], item: str | None = None) -> str:
    """Return the text without what is at a path, or without an item of the list there."""
    trail, value = _trail(text, path)
    if value is None:
        return text
    keys = list(path)
    if item is None:
        doomed = trail[-1].find(keys.pop())
    else:
        found = _list(text, path)
        trail = [*trail, found] if found else trail
        doomed = next((member for member in trail[-1].members if member.value.plain == item), None)
    if doomed is None:
        return text
    # A container that was made for it alone goes with it.
    while keys and _made_for(text, trail[-1], doomed):
        trail.pop()
        doomed = trail[-1].find(keys.pop())
        if doomed is None:
            return text
    return _removed(text, trail[-1], doomed)


def _made_for(text: str, container: Container, member: Member) -> bool:
    inside = text[container.start + 1 : member.start] + text[member.end : container.end - 1]
    return len(container.members) == 1 and text[member.end] != " " and not inside.strip().strip(",").strip()


def _removed(text: str, container: Container, member: Member) -> str:
    place = container.members.index(member)
    if len(container.members) == 1 and text[member.end] == " ":
        return text[: member.start] + text[member.end + 1 :]
    line = _LINE_BEFORE.search(text, 0, member.start)
    begin = line.start() if line else member.start - (text[member.start - 1] == " ")
    if member.comma is not None:
        return text[:begin] + text[member.end : member.comma] + text[member.comma + 1 :]
    if place == 0:
        return text[:begin] + text[member.end :]
    comma = container.members[place - 1].comma
    return text[:comma] + text[(comma or 0) + 1 : begin] + text[member.end :]
