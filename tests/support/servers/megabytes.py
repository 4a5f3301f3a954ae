"""A tool that has much to say, and others that say it with pictures."""

import base64

from mcp import types

try:
    from mcp.server import MCPServer
except ImportError:  # mcp 1.x
    from mcp.server.fastmcp import FastMCP as MCPServer

SIZE = 5_000_000


def build() -> MCPServer:
    server = MCPServer("megabytes")

    @server.tool()
    def dump() -> str:
        """Five megabytes of text."""
        return "x" * SIZE

    @server.tool(structured_output=False)
    def picture() -> list[types.TextContent | types.ImageContent]:
        """A picture and its caption."""
        data = base64.b64encode(bytes(12_000)).decode()
        return [
            types.TextContent(type="text", text="A cat:"),
            types.ImageContent.model_validate({"type": "image", "data": data, "mimeType": "image/png"}),
        ]

    return server


if __name__ == "__main__":
    build().run()
