"""The OpenAPI documents: every route is in them, and every struct as it is."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from lanmesh.faces.description import Description
from lanmesh.model.envelope import Envelope
from lanmesh.protocol import problems
from lanmesh.protocol.codec import encode_envelope
from tests.docs.generated import mesh_routes, operator_routes
from tests.unit.samples import MESSAGE, asking, telling

PORTS = {"mesh": mesh_routes, "operator": operator_routes}


@pytest.fixture(params=PORTS)
def port(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def described(port: str) -> dict[str, Any]:
    return Description("/openapi.json", port, "1.0", PORTS[port]()).document()


def test_every_route_is_described_in_its_own_words(port: str) -> None:
    document = described(port)

    for route in PORTS[port]():
        operation = document["paths"][route.path][route.method.lower()]
        assert operation["summary"] == route.endpoint.__doc__
        assert operation["responses"]["default"]["content"].keys() == {problems.MEDIA_TYPE}
        named = {parameter["name"] for parameter in operation.get("parameters", [])}
        assert all(
            f"{{{name}}}" in route.path
            for name in named
            - {"approvals", "draft", "limit", "offset", "state", "unread", "version", "wait"}
        )


def test_every_schema_is_one_and_every_reference_leads_to_it(port: str) -> None:
    document = described(port)
    schemas = document["components"]["schemas"]

    for name, schema in schemas.items():
        Draft202012Validator.check_schema(schema)
        assert not name.startswith("_")
    assert references(document) <= {f"#/components/schemas/{name}" for name in schemas}


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def test_what_needs_no_token_is_marked_so() -> None:
    paths = described("mesh")["paths"]
    open_to_all = {
        path for path, row in paths.items() for operation in row.values() if operation.get("security") == []
    }

    assert open_to_all == {
        "/lan/health",
        "/lan/whoami",
        "/lan/pair/start",
        "/lan/pair/finish",
        "/lan/openapi.json",
        "/openapi.json",
    }


@pytest.mark.parametrize("sent", [MESSAGE, asking(), telling()], ids=["message", "task", "result"])
def test_an_envelope_that_is_sent_fits_its_description_and_no_other(sent: Envelope | bytes) -> None:
    components = described("mesh")["components"]
    body = json.loads(sent if isinstance(sent, bytes) else encode_envelope(sent))

    fits = [
        name
        for name in components["schemas"]
        if name.endswith("Envelope")
        and Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": components}).is_valid(
            body
        )
    ]

    assert fits == [f"{body['type'].capitalize()}Envelope"]
