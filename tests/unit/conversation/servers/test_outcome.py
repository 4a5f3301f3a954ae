"""What a model is given of a tool's result."""

from typing import Any

import pytest

from pytest_aitest.conversation.servers import ToolOutcome


@pytest.mark.parametrize(
    ("block", "shown"),
    [
        ({"type": "text", "text": "1300"}, "1300"),
        ({"type": "image", "data": "AAAA", "mimeType": "image/png"}, "[image/png, 3 bytes]"),
        ({"type": "image", "data": "AAA=" * 1000, "mimeType": "image/png"}, "[image/png, 3 kB]"),
        ({"type": "audio", "data": "AA==", "mimeType": "audio/wav"}, "[audio/wav, 1 bytes]"),
        ({"type": "resource", "resource": {"uri": "file:///a.txt", "text": "hello"}}, "hello"),
        (
            {"type": "resource", "resource": {"uri": "file:///a", "blob": "AAAA", "mimeType": "application/pdf"}},
            "[application/pdf, 3 bytes: file:///a]",
        ),
        ({"type": "resource", "resource": {"uri": "file:///a", "blob": "AAAA"}}, "[binary, 3 bytes: file:///a]"),
        ({"type": "resource_link", "name": "report", "uri": "file:///r"}, "[link to report: file:///r]"),
        ({"type": "hologram"}, "[hologram content]"),
    ],
)
def test_what_is_no_text_is_a_note(block: dict[str, Any], shown: str) -> None:
    assert ToolOutcome.of({"content": [block]}).text == shown


def test_blocks_are_lines() -> None:
    blocks = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert ToolOutcome.of({"content": blocks}) == ToolOutcome(text="one\ntwo")


def test_structured_content_without_text_is_its_own_text() -> None:
    outcome = ToolOutcome.of({"content": [], "structuredContent": {"name": "Zoë"}})
    assert (outcome.text, outcome.structured) == ('{"name": "Zoë"}', {"name": "Zoë"})


def test_an_empty_result_is_empty() -> None:
    assert ToolOutcome.of({"content": [], "structuredContent": None, "isError": False}) == ToolOutcome(text="")
