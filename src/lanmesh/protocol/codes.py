"""what two nodes know before they pair, and nobody else: a code that was typed, or their tokens"""

from collections.abc import Callable

from lanmesh.errors import InvalidRequest

ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
"""Without 0 and O, 1, I and L, which people confuse."""

CODE_LENGTH = 8
"""Of 31 characters: a guess is right once in 850 thousand million times."""

Entropy = Callable[[int], bytes]
"""Returns so many bytes that nobody can guess."""


def new_code(entropy: Entropy) -> str:
    """Return a new code, as it is shown."""
    letters = ""
    while len(letters) < CODE_LENGTH:
        (byte,) = entropy(1)
        if byte < 256 // len(ALPHABET) * len(ALPHABET):  # so that each is as likely
            letters += ALPHABET[byte % len(ALPHABET)]
    return f"{letters[:4]}-{letters[4:]}"


def secret_of_code(typed: str) -> bytes:
    """Return the secret in a code, however it was typed.

    Raises:
        InvalidRequest: It is no code.
    """
    letters = typed.upper().replace("-", "").replace(" ", "")
    if len(letters) != CODE_LENGTH or any(letter not in ALPHABET for letter in letters):
        raise InvalidRequest(
            f"a code has {CODE_LENGTH} characters, letters without I, L, O and digits without 0, 1"
        )
    return b"code " + letters.encode()


def secret_of_tokens(to_dialled: bytes, to_dialler: bytes) -> bytes:
    """Return the secret in two tokens, given by their digests: each side presents one of them."""
    return b"tokens " + to_dialled + to_dialler
