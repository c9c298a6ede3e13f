"""Envelopes and mail: what follows from what they hold."""

from dataclasses import replace

import pytest

from lanmesh.model.envelope import EnvelopeType, Mail, Message, TaskRequest
from lanmesh.model.ids import WireId
from lanmesh.model.report import TaskReport, report_of
from tests.unit.samples import MESSAGE, TASK


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (Message(text="x"), EnvelopeType.MESSAGE),
        (TaskRequest(description="x"), EnvelopeType.TASK),
        (report_of(TASK), EnvelopeType.RESULT),
    ],
)
def test_an_envelope_is_of_the_type_of_what_it_carries(
    payload: Message | TaskRequest | TaskReport, kind: EnvelopeType
) -> None:
    assert replace(MESSAGE, payload=payload).type is kind


def test_a_sender_s_name_is_proven_where_it_is_the_origin() -> None:
    mail = Mail(number=1, id=WireId("m"), origin="laptop", sender="laptop", text="x", received_at=0.0)

    assert mail.proven
    assert not replace(mail, origin="shared").proven
