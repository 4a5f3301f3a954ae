"""Whether the arguments that a tool declares are a JSON Schema."""

import functools
import json

import jsonschema

from pytest_aitest.values.errors import DeclarationError
from pytest_aitest.values.model import ToolSpec


def check_schema(tool: ToolSpec) -> None:
    """Refuse a tool whose schema no model could follow.

    Raises:
        DeclarationError: It is no JSON Schema.
    """
    if problem := _problem(json.dumps(tool.input_schema, sort_keys=True)):
        raise DeclarationError(
            f"Tool {tool.name!r} of server {tool.server!r} declares arguments that are no JSON Schema: {problem}. "
            "Correct the schema in the server, or leave the tool out with allowed_tools."
        )


@functools.lru_cache(maxsize=1024)  # a check costs 1 to 5 ms, and every session of a run offers the same tools
def _problem(schema_text: str) -> str:
    schema = json.loads(schema_text)
    try:
        jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator).check_schema(schema)
    except jsonschema.SchemaError as error:
        return f"{error.message} (at {error.json_path})"
    return ""
