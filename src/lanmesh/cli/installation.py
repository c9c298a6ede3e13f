"""what install.sh changes in OpenClaw's files, and the proof that the installed node answers"""

import argparse
import contextlib
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ParamSpec, TypeVar

from lanmesh.errors import InvalidConfig, MeshError
from lanmesh.locations import dotenv, openclaw_state, replace
from lanmesh.net.identity import anybody
from lanmesh.openclaw import settings_file
from lanmesh.openclaw.settings_file import PLUGIN_ID, Section
from lanmesh.tokens import SHARED_TOKEN, parse_dotenv

P = ParamSpec("P")
R = TypeVar("R")

NOTE = "# OpenClaw LAN Mesh: what other machines present to this one (written by install.sh)\n"

_BACKUP_SUFFIX = ".before-lan-mesh"
_OURS = re.compile(re.escape(NOTE) + rf"{SHARED_TOKEN}=[^\n]*\n")
_EMPTY_TOKEN = re.compile(rf"^([ \t]*(?:export[ \t]+)?{SHARED_TOKEN}[ \t]*=)[^\r\n]*", re.MULTILINE)
_TOKEN_BYTES = 32
_START_WAIT_S = 30.0
_NO_GATEWAY = {"url": "ws://127.0.0.1:9", "boot": "install.sh"}
"""Given a gateway, even one that is not there, the node starts with all the parts it has beside one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """The files of one OpenClaw; with `dry_run` they are only read."""

    state: Path
    config: Path
    dry_run: bool = False

    @classmethod
    def of_this_user(cls, *, dry_run: bool = False) -> "Installation":
        """Return the OpenClaw that the environment names."""
        state = openclaw_state(os.environ).absolute()
        named = os.environ.get("OPENCLAW_CONFIG_PATH")
        config = Path(named).expanduser().absolute() if named else state / "openclaw.json"
        return cls(state=state, config=config, dry_run=dry_run)

    def register(self, plugin_dir: str) -> list[str]:
        """Register the plugin; returns `created`, `changed` or `unchanged`, the file, and notes.

        Where the user has linked the plugin from another folder, that stays the one that is loaded.

        Raises:
            InvalidConfig: The config cannot be changed.
        """
        found = self._read_config()
        path, text, section = self._plugins_section(found if found is not None else "{\n}\n")
        linked = self._linked(text, section, plugin_dir)
        new = _explained(path, settings_file.registered, text, linked or plugin_dir, section)
        told = [f"file {path}", *(f"obstacle {key}" for key in settings_file.obstacles(new, section))]
        if linked:
            told.append(f"linked {linked}")
        if found is None:
            new = json.dumps(json.loads(new), indent=2, ensure_ascii=False) + "\n"
        elif new == text:
            return ["unchanged", *told]
        else:
            self._back_up(path)
        self._write(path, new, 0o600)
        return ["created" if found is None else "changed", *told]

    def unregister(self, plugin_dir: str, *, forget: bool = False) -> list[str]:
        """Undo `register`; returns `changed`, `deleted`, `unchanged`, or the folder the user has linked.

        Args:
            plugin_dir: The folder that was registered.
            forget: Whether the user's config for the plugin goes as well, and the backup.

        Raises:
            InvalidConfig: The config cannot be changed.
        """
        found = self._read_config()
        if found is None:
            return ["unchanged"]
        path, text, section = self._plugins_section(found)
        if linked := self._linked(text, section, plugin_dir):
            return ["unchanged", f"linked {linked}"]
        new = _explained(path, settings_file.unregistered, text, plugin_dir, section, forget=forget)
        backup = _backup(path)
        if settings_file.is_empty(new) and not backup.exists() and path == self.config:
            # Nobody but us has written to it.
            if not self.dry_run:
                path.unlink()
            return ["deleted"]
        if new != text:
            self._write(path, new, 0o600)
        if backup.exists() and not self.dry_run and (forget or backup.read_bytes() == path.read_bytes()):
            backup.unlink()
        told = [f"backup {backup}"] if backup.exists() else []
        return ["changed" if new != text else "unchanged", *told]

    def write_token(self) -> list[str]:
        """Make sure that the `.env` file has an inbound token; returns `kept` or `written`."""
        path = self.state / ".env"
        text = _text(path) or ""
        if parse_dotenv(text).get(SHARED_TOKEN, "").strip():
            if path.stat().st_mode & 0o077 and not self.dry_run:
                path.chmod(0o600)
            return ["kept"]
        token = os.environ.get(SHARED_TOKEN, "").strip()
        if not re.fullmatch(r"[A-Za-z0-9._~+/=-]+", token):
            token = secrets.token_hex(_TOKEN_BYTES)
        if _EMPTY_TOKEN.search(text):  # any of them, since the last one counts
            new = _EMPTY_TOKEN.sub(lambda found: found[1] + token, text)
        else:
            # At the top: no line of the user's is touched, whatever the last one ends with.
            mark = "\ufeff" if text.startswith("\ufeff") else ""
            new = f"{mark}{NOTE}{SHARED_TOKEN}={token}\n{text.removeprefix(mark)}"
        self._write(path, new, 0o600, keep_mode=False)
        return ["written"]

    def forget_token(self) -> list[str]:
        """Take our token out of the `.env` file; returns `removed`, `kept` (the user's own) or `absent`."""
        path = self.state / ".env"
        text = _text(path)
        if text is None or SHARED_TOKEN not in parse_dotenv(text):
            return ["absent"]
        new = _OURS.sub("", text, count=1)
        if new == text:
            return ["kept"]
        if new:
            self._write(path, new, 0o600)
        elif not self.dry_run:
            path.unlink()
        return ["removed"]

    def _read_config(self) -> str | None:
        if os.environ.get("OPENCLAW_NIX_MODE") == "1":
            raise InvalidConfig(f"{self.config} is managed by Nix: register the plugin there")
        if os.environ.get("OPENCLAW_HOME") and not os.environ.get("OPENCLAW_STATE_DIR"):
            raise InvalidConfig(
                "OPENCLAW_HOME is set: set OPENCLAW_STATE_DIR to the .openclaw folder in it as well, "
                "here and for the gateway, so that both mean the same folder"
            )
        text = _text(self.config)
        return text if text is None or text.strip() else "{\n}\n"

    def _plugins_section(self, text: str) -> tuple[Path, str, Section]:
        """Return the file that holds the plugins section, its text, and where it is in there."""
        named = _explained(self.config, settings_file.included, text)
        if named is None:
            return self.config, text, ("plugins",)
        path = self.config.parent / named
        part = _text(path)
        if part is None:
            raise InvalidConfig(f"{self.config} includes {path}, which is not there")
        return path, part, ()

    def _linked(self, text: str, section: Section, plugin_dir: str) -> str | None:
        for name in settings_file.load_paths(text, section):
            manifest = Path(name).expanduser() / "openclaw.plugin.json"
            if name == plugin_dir or not manifest.is_file():
                continue
            try:
                if json.loads(manifest.read_text("utf-8")).get("id") == PLUGIN_ID:
                    return name
            except (OSError, ValueError, AttributeError):
                continue
        return None

    def _back_up(self, path: Path) -> None:
        backup = _backup(path)
        if not backup.exists() and not self.dry_run:
            replace(backup, path.read_bytes(), 0o600)

    def _write(self, path: Path, text: str, mode: int, *, keep_mode: bool = True) -> None:
        if self.dry_run:
            return
        path = path.resolve()  # a link stays a link
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if keep_mode and path.exists():
            mode = path.stat().st_mode & 0o777
        replace(path, text.encode("utf-8", "surrogateescape"), mode)


def _backup(path: Path) -> Path:
    return path.with_name(path.name + _BACKUP_SUFFIX)


def _text(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        return None


def _explained(path: Path, function: Callable[P, R], *args: P.args, **named: P.kwargs) -> R:
    """Call a function, and name the file in what it complains of."""
    try:
        return function(*args, **named)
    except InvalidConfig as fault:
        raise InvalidConfig(f"{path}: {fault.detail}") from None


def prove() -> list[str]:
    """Start the installed node on free ports with a state folder of its own, ask it, and stop it.

    Raises:
        MeshError: It does not start, or does not let the token in.
    """
    token = parse_dotenv(_text(dotenv(os.environ)) or "").get(SHARED_TOKEN, "")
    with tempfile.TemporaryDirectory(prefix="lanmesh-check-") as name:
        folder = Path(name)
        command = [sys.executable, "-m", "lanmesh", "run", "--port", "0", "--operator-port", "0"]
        command += ["--listen", "127.0.0.1", "--config-stdin", "--until-stdin-closes"]
        environ = {**os.environ, "LANMESH_STATE_DIR": name}
        with (folder / "errors").open("w+") as errors:
            node = subprocess.Popen(  # noqa: S603  # our own interpreter and words
                command,
                cwd=name,
                env=environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
            try:
                _say(node, {"gateway": _NO_GATEWAY})
                url = _mesh_url(node, folder, errors)
                _get(f"{url}/lan/health")
                profile = _get(f"{url}/lan/profile", token)
            finally:
                node.communicate()  # closes its stdin, which ends it
    return ["answered", str(profile.get("id", ""))]


def _say(node: subprocess.Popen[bytes], settings: object) -> None:
    if node.stdin is not None:
        with contextlib.suppress(BrokenPipeError):  # why it ended, its errors say
            node.stdin.write(json.dumps(settings).encode() + b"\n")
            node.stdin.flush()


def _mesh_url(node: subprocess.Popen[bytes], folder: Path, errors: IO[str]) -> str:
    deadline = time.monotonic() + _START_WAIT_S
    while not (folder / "node.json").exists():
        if node.poll() is not None or time.monotonic() > deadline:
            errors.seek(0)
            raise MeshError(f"the node did not start: {_last_words(errors.read())}")
        time.sleep(0.05)
    mesh = json.loads((folder / "node.json").read_text("utf-8"))["mesh"]
    return f"https://{mesh['host']}:{mesh['port']}"


def _last_words(errors: str) -> str:
    lines = [line for line in errors.splitlines() if line.strip()]
    return "\n".join(lines[-20:]) or "it left no word"


def _get(url: str, token: str = "") -> dict[str, object]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  # of _mesh_url
    # On loopback, to the node that was just started: it needs no proof of its key.
    tls = urllib.request.HTTPSHandler(context=anybody())
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}), tls)
    try:
        with direct.open(request, timeout=10) as answer:
            found = json.load(answer)
    except OSError as fault:
        raise MeshError(f"the node's answer to {request.selector}: {fault}") from None
    return found if isinstance(found, dict) else {}


def main(arguments: Sequence[str]) -> list[str]:
    """Do what install.sh asks for, and return the lines that it reads."""
    parser = argparse.ArgumentParser(prog="installation")
    parser.add_argument("verb", choices=["where", "register", "unregister", "token", "forget-token", "prove"])
    parser.add_argument("plugin_dir", nargs="?", default="")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--forget", action="store_true")
    given = parser.parse_args(arguments)
    here = Installation.of_this_user(dry_run=given.dry_run)
    match given.verb:
        case "where":
            return [str(here.state), str(here.config)]
        case "register":
            return here.register(given.plugin_dir)
        case "unregister":
            return here.unregister(given.plugin_dir, forget=given.forget)
        case "token":
            return here.write_token()
        case "forget-token":
            return here.forget_token()
        case _:
            return prove()


if __name__ == "__main__":
    try:
        print("\n".join(main(sys.argv[1:])))
    except MeshError as fault:
        sys.exit(fault.detail)
    except OSError as fault:
        sys.exit(f"{fault.filename}: {fault.strerror}")
