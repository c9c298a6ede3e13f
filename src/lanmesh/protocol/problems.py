"""errors as the world sees them: HTTP status, exit status, problem document (RFC 9457)"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from lanmesh import errors
from lanmesh.errors import MeshError

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Spelling:
    """How one class of error is told to each kind of caller."""

    status: int
    """HTTP status (RFC 9110 section 15)."""
    exit: int
    """Exit status of the command line."""


TABLE: Mapping[type[MeshError], Spelling] = {
    errors.InvalidRequest: Spelling(400, 2),
    errors.UnknownType: Spelling(400, 2),
    errors.UnsupportedVersion: Spelling(400, 2),
    errors.TooLarge: Spelling(413, 2),
    errors.HeadTooLarge: Spelling(431, 2),
    errors.TooSlow: Spelling(408, 6),
    errors.UnsupportedMedia: Spelling(415, 2),
    errors.Misdirected: Spelling(421, 2),
    errors.NotAuthenticated: Spelling(401, 4),
    errors.ClientCertRequired: Spelling(401, 4),
    errors.CertMismatch: Spelling(401, 4),
    errors.NotAllowed: Spelling(403, 4),
    errors.TasksNotAccepted: Spelling(403, 5),
    errors.PairingClosed: Spelling(403, 5),
    errors.PairingFailed: Spelling(403, 5),
    errors.RouteNotFound: Spelling(404, 3),
    errors.MethodNotAllowed: Spelling(405, 2),
    errors.TaskNotFound: Spelling(404, 3),
    errors.DeliveryNotFound: Spelling(404, 3),
    errors.PeerNotFound: Spelling(404, 3),
    errors.FileNotFound: Spelling(404, 3),
    errors.FileDiffers: Spelling(422, 5),
    errors.OffsetDiffers: Spelling(409, 5),
    errors.RangeImpossible: Spelling(416, 2),
    errors.IdConflict: Spelling(409, 5),
    errors.IllegalTransition: Spelling(409, 5),
    errors.ChainRefused: Spelling(409, 5),
    errors.TooBusy: Spelling(429, 6),
    errors.TooFast: Spelling(429, 6),
    errors.PeerUnreachable: Spelling(502, 6),
    errors.AnswerLost: Spelling(502, 6),
    errors.NodeUnreachable: Spelling(502, 6),
    errors.GatewayUnavailable: Spelling(502, 6),
    errors.GatewayRefused: Spelling(502, 6),
    errors.StorageFailed: Spelling(507, 74),
    errors.DatabaseDamaged: Spelling(507, 65),
    errors.NoRoom: Spelling(507, 74),
    errors.QuotaReached: Spelling(507, 6),
    errors.TimedOut: Spelling(504, 7),
    errors.InvalidConfig: Spelling(400, 78),
    errors.StateFolderBusy: Spelling(409, 75),
    errors.MeshError: Spelling(500, 70),
}
"""One row for each class; exit statuses from 70 on are those of sysexits."""

_CLIENT_ERRORS = range(400, 500)

_BY_CODE: Mapping[str, type[MeshError]] = {kind.code: kind for kind in TABLE}


class Problem(msgspec.Struct, kw_only=True):
    """A problem document (RFC 9457 section 3), with the code as an extension member."""

    type: str = "about:blank"
    title: str = ""
    status: int = 500
    detail: str = ""
    code: str = ""


def spelling(error: MeshError) -> Spelling:
    """Return the error's row."""
    return TABLE[type(error)]


def encode(error: MeshError) -> bytes:
    """Return the problem document of an error."""
    title = (type(error).__doc__ or "").split(";")[0].split(":")[0].strip().rstrip(".")
    problem = Problem(
        type=f"urn:lanmesh:problem:{error.code}",
        title=title,
        status=spelling(error).status,
        detail=error.detail,
        code=error.code,
    )
    return msgspec.json.encode(problem)


def headers(error: MeshError) -> dict[str, str]:
    """Return the HTTP headers that go with the problem document of an error."""
    told = {"content-type": MEDIA_TYPE}
    if error.retry_after_s is not None:
        told["retry-after"] = str(max(1, round(error.retry_after_s)))
    return told


def read(body: bytes) -> MeshError | None:
    """Return the error that a problem document of the mesh tells of; `None` if the body is none."""
    try:
        problem = msgspec.json.decode(body, type=Problem)
    except (ValueError, RecursionError):
        return None
    kind = _BY_CODE.get(problem.code)
    return None if kind is None else kind(problem.detail)


def decode(status: int, body: bytes, retry_after_s: float | None = None) -> MeshError:
    """Return the error that an answer of another node tells of.

    A body that is no problem document of ours gives the class that fits its status best.
    """
    told = read(body) or _by_status(status)(f"HTTP status {status}, without an explanation")
    told.retry_after_s = retry_after_s
    return told


def _by_status(status: int) -> type[MeshError]:
    for kind, row in TABLE.items():
        if row.status == status:
            return kind
    return errors.InvalidRequest if status in _CLIENT_ERRORS else errors.MeshError
