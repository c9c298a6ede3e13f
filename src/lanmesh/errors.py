"""every error the mesh raises: a stable code, and whether a retry may help"""

from typing import ClassVar

_LONGEST = 2_000
"""Characters of a detail: what somebody wrote may stand in it, whole."""


def _shortened(detail: str) -> str:
    if len(detail) <= _LONGEST:
        return detail
    half = _LONGEST // 2 - 2  # the beginning says what is wrong, the end what to do
    return f"{detail[:half]} … {detail[-half:]}"


def _sentence(docstring: str) -> str:
    text = docstring.strip().rstrip(".")
    return text[:1].lower() + text[1:]


class MeshError(Exception):
    """Something went wrong inside the node; its log says what."""

    code: ClassVar[str] = "internal"
    """Stable across versions: programs compare this, never the text."""
    retryable: ClassVar[bool] = False
    """Whether the same request, unchanged, may succeed later."""

    def __init__(self, detail: str = "", *, retry_after_s: float | None = None) -> None:
        """Carry a detail for people; without one, the class's own sentence is it.

        Args:
            detail: What happened, to which thing, and what to do next. Never holds a secret. Of one that is
                longer than 2,000 characters, the middle is left out.
            retry_after_s: Seconds to wait before a retry is worth it; `None` when unknown.
        """
        super().__init__(_shortened(detail) or _sentence(type(self).__doc__ or ""))
        self.retry_after_s = retry_after_s

    @property
    def detail(self) -> str:
        """The sentence for people."""
        return str(self.args[0])


class InvalidRequest(MeshError):
    """The request is malformed; the detail names the field and what it must be."""

    code = "invalid-request"


class UnknownType(InvalidRequest):
    """The envelope's type is none that this version of the protocol knows."""

    code = "unknown-type"


class UnsupportedVersion(InvalidRequest):
    """The envelope speaks another major version of the protocol."""

    code = "unsupported-version"


class TooLarge(MeshError):
    """The request is larger than this node takes."""

    code = "too-large"


class HeadTooLarge(MeshError):
    """The head of the request is larger than this node takes."""

    code = "head-too-large"


class TooSlow(MeshError):
    """The request did not come in time; its connection is closed."""

    code = "too-slow"
    retryable = True


class UnsupportedMedia(MeshError):
    """The body is not what this address takes: JSON, not compressed."""

    code = "unsupported-media"


class Misdirected(MeshError):
    """The request is for a host that this node is not."""

    code = "misdirected"


class NotAuthenticated(MeshError):
    """No known token came with the request; send `Authorization: Bearer <token>`."""

    code = "not-authenticated"


class ClientCertRequired(NotAuthenticated):
    """This token is a paired peer's, which must show its certificate with it, on the mesh port."""

    code = "client-cert-required"


class CertMismatch(NotAuthenticated):
    """This token belongs to another key than the certificate that came with it."""

    code = "cert-mismatch"


class PairingClosed(MeshError):
    """No pairing is open here, or its code is used up; run `lanmesh pair` there for a new code."""

    code = "pairing-closed"


class PairingFailed(MeshError):
    """The code is not the one shown, or somebody is in between; nothing was stored on either side."""

    code = "pairing-failed"


class NotAllowed(MeshError):
    """The caller is known, but may not do this."""

    code = "not-allowed"


class TasksNotAccepted(MeshError):
    """This node takes no tasks now; its owner has set the accept mode to off."""

    code = "tasks-not-accepted"


class RouteNotFound(MeshError):
    """There is nothing at this address; PROTOCOL.md lists the routes."""

    code = "route-not-found"


class MethodNotAllowed(MeshError):
    """This address exists, but not for this method."""

    code = "method-not-allowed"


class TaskNotFound(MeshError):
    """No such task is known here to this caller."""

    code = "task-not-found"


class DeliveryNotFound(MeshError):
    """No such envelope is kept here."""

    code = "delivery-not-found"


class PeerNotFound(MeshError):
    """No such peer is configured."""

    code = "peer-not-found"


class FileNotFound(MeshError):
    """No such file is offered to this caller here, nor expected of it."""

    code = "file-not-found"


class FileDiffers(MeshError):
    """What came is not the file that was announced: its size or its hash is another."""

    code = "file-differs"


class OffsetDiffers(MeshError):
    """Another number of its bytes is here; `Upload-Offset` tells which: go on from there."""

    code = "offset-differs"


class RangeImpossible(MeshError):
    """The file has no bytes in the range that was asked for; `Content-Range` tells its size."""

    code = "range-impossible"


class IdConflict(MeshError):
    """This id was used before with other content; use a new id."""

    code = "id-conflict"


class IllegalTransition(MeshError):
    """The task is in a state in which this cannot happen."""

    code = "illegal-transition"


class ChainRefused(MeshError):
    """The chain of delegations is too long, or would visit a node twice."""

    code = "chain-refused"


class TooBusy(MeshError):
    """The node has as much waiting as it takes; try again later."""

    code = "too-busy"
    retryable = True


class TooFast(TooBusy):
    """The caller asks more often than it may; nothing of it was kept."""

    code = "too-fast"


class QuotaReached(TooBusy):
    """The caller has as much stored on this node as it may."""

    code = "quota-reached"


class PeerUnreachable(MeshError):
    """The peer did not take the request: nothing of it arrived."""

    code = "peer-unreachable"
    retryable = True


class AnswerLost(MeshError):
    """The request went out and no answer came: the peer may have it or not."""

    code = "answer-lost"
    retryable = True


class NodeUnreachable(MeshError):
    """The node of this machine does not run; start it with `lanmesh run`."""

    code = "node-unreachable"
    retryable = True


class GatewayUnavailable(MeshError):
    """The OpenClaw gateway beside this node does not answer now."""

    code = "gateway-unavailable"
    retryable = True


class GatewayRefused(MeshError):
    """The OpenClaw gateway beside this node says no."""

    code = "gateway-refused"


class StorageFailed(MeshError):
    """The node could not write to its disk; nothing of the request was kept."""

    code = "storage-failed"
    retryable = True


class DatabaseDamaged(StorageFailed):
    """The node's database is damaged; restore it, or move it away to begin without it."""

    code = "database-damaged"
    retryable = False


class NoRoom(StorageFailed):
    """The node's disk has no room for it; what has come of it is kept, and it may go on later."""

    code = "no-room"


class TimedOut(MeshError):
    """It did not happen within the time that the caller was willing to wait."""

    code = "timed-out"


class InvalidConfig(MeshError):
    """The configuration cannot be used; the detail names the key and the mend."""

    code = "invalid-config"


class StateFolderBusy(MeshError):
    """Another node holds this state folder; stop it, or use another folder."""

    code = "state-folder-busy"
    retryable = True
