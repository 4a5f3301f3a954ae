"""What a tool call came to, as a model is given it. Knows the result's JSON form, which all versions of mcp share."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class ToolOutcome:
    """The result of one tool call; a tool's own error is a result too."""

    text: str  # what the model is given; an image is a note such as "[image/png, 12 kB]"
    structured: Any | None = None  # the structured content, where the tool gives one
    is_error: bool = False

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> Self:
        """Read a `CallToolResult` in its JSON form."""
        structured = result.get("structuredContent")
        text = "\n".join(_shown(block) for block in result.get("content") or ())
        if not text and structured is not None:
            text = json.dumps(structured, ensure_ascii=False)
        return cls(text=text, structured=structured, is_error=bool(result.get("isError")))


def _shown(block: Mapping[str, Any]) -> str:
    match block:
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": "image" | "audio" as kind, "data": str(data)}:
            return f"[{block.get('mimeType') or kind}, {_size(data)}]"
        case {"type": "resource", "resource": {"text": str(text)}}:
            return text
        case {"type": "resource", "resource": {"blob": str(data), **resource}}:
            return f"[{resource.get('mimeType') or 'binary'}, {_size(data)}: {resource.get('uri')}]"
        case {"type": "resource_link"}:
            return f"[link to {block.get('name')}: {block.get('uri')}]"
    return f"[{block.get('type', 'unknown')} content]"


def _size(base64: str) -> str:
    size = len(base64) * 3 // 4 - base64[-2:].count("=")
    return f"{size / 1000:.0f} kB" if size >= 1000 else f"{size} bytes"  # noqa: PLR2004 - where kilobytes begin
