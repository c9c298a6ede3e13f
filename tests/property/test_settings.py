"""Settings, whatever somebody writes into them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanmesh.config import Keys, NodeKeys, PeerKeys, ProfileKeys, Source, combine, read_json
from lanmesh.errors import InvalidConfig
from lanmesh.model import ids
from tests.property.strategies import json_values, texts

TABLES = {"": Keys, "profile": ProfileKeys, "node": NodeKeys, "peers.a": PeerKeys}
KNOWN = {
    at: {
        "".join([first, *map(str.capitalize, rest)])
        for first, *rest in (name.split("_") for name in kind.__struct_fields__)
    }
    for at, kind in TABLES.items()
}


def nested(at: str, values: dict[str, Any]) -> dict[str, Any]:
    for name in reversed(at.split(".") if at else []):
        values = {name: values}
    return values


@st.composite
def unknown_keys(draw: st.DrawFn) -> tuple[str, str]:
    at = draw(st.sampled_from(sorted(TABLES)))
    near = draw(st.sampled_from(sorted(KNOWN[at])))
    typed = draw(texts | st.sampled_from([near.lower() + "s", near[1:], near + near, near.upper()]))
    return at, typed if typed not in KNOWN[at] else f"{typed} "


@given(unknown_keys(), json_values)
def test_a_key_that_nobody_knows_is_refused_in_a_file_and_only_told_of_elsewhere(
    unknown: tuple[str, str], value: Any
) -> None:
    at, key = unknown
    values = nested(at, {**({"host": "h"} if at == "peers.a" else {}), key: value})

    with pytest.raises(InvalidConfig, match="unknown key") as refusal:
        combine([Source(name="config.toml", values=values, strict=True)], "host")
    config = combine([Source(name="config.toml", values=values)], "host")
    assert config.warnings == [refusal.value.detail]
    assert ids.quoted(f"{at}.{key}" if at else key) in refusal.value.detail


@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "acceptMode": st.sampled_from(["auto", "off"]) | json_values,
                "profile": st.dictionaries(st.sampled_from(sorted(KNOWN["profile"])), json_values)
                | json_values,
                "node": st.dictionaries(st.sampled_from(sorted(KNOWN["node"])), json_values) | json_values,
                "peers": st.dictionaries(
                    texts | st.just("a"),
                    st.dictionaries(st.sampled_from(sorted(KNOWN["peers.a"])), json_values | st.just("h")),
                )
                | json_values,
            },
        ),
        max_size=3,
    ),
    texts,
)
def test_no_settings_do_more_than_be_refused_by_a_sentence(
    values: list[dict[str, Any]], hostname: str
) -> None:
    sources = [read_json(json.dumps(value).encode(), f"source {index}") for index, value in enumerate(values)]
    before = json.dumps(values)
    try:
        config = combine(sources, hostname)
    except InvalidConfig as refusal:
        assert refusal.detail
    else:
        assert ids.peer_id(config.identity.id)
    assert json.dumps([dict(source.values) for source in sources]) == before


@given(texts)
def test_every_host_s_name_makes_a_node_s_name(hostname: str) -> None:
    assert ids.peer_id(ids.slug(hostname))
