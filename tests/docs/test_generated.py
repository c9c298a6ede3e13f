"""The generated blocks are those that the code would make now."""

import pytest

from tests.docs import generated
from tests.docs.markdown import read


@pytest.mark.parametrize("document", sorted(generated.BLOCKS))
def test_a_document_has_what_scripts_documents_would_write(document: str) -> None:
    text = read(document)

    assert generated.rewritten(document, text) == text


def test_every_option_of_the_command_line_says_what_it_does() -> None:
    silent = [
        f"{name} {param.name}"
        for name, command in generated.verbs().items()
        for param in command.params
        if not param.help
    ]

    assert silent == []


def test_every_setting_says_what_it_does_and_every_route_too() -> None:
    routes = [*generated.mesh_routes(), *generated.operator_routes()]

    assert all(description for _, _, description in generated.setting_rows())
    assert all(route.endpoint.__doc__ for route in routes)
