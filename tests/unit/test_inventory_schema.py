"""The JSON Schema for editors."""

import json

from jsonschema import Draft202012Validator

from replctl.inventory import inventory_schema
from tests.unit.inventories import tree


def test_schema_is_valid_and_accepts_what_the_parser_accepts():
    schema = inventory_schema()
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    validator = Draft202012Validator(schema)
    assert list(validator.iter_errors(tree())) == []
    assert list(validator.iter_errors(tree() | {"cluster": "Chat"}))
    assert list(validator.iter_errors(tree() | {"tls": {}}))
    assert list(validator.iter_errors(tree() | {"templates": None}))
    json.dumps(schema)


def test_schema_describes_every_key():
    schema = inventory_schema()
    blocks = [schema, *schema["$defs"].values()]
    bare = [key for block in blocks for key, field in block["properties"].items() if not field.get("description")]
    assert bare == []
    assert all(block["additionalProperties"] is False for block in blocks)
