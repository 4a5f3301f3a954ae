"""A server that wants something of its client while a tool is called: a user's input, a model's words."""

from typing import Any

from pydantic import BaseModel

try:
    from mcp.server import MCPServer
    from mcp.server.mcpserver import Context
except ImportError:  # mcp 1.x
    from mcp.server.fastmcp import Context
    from mcp.server.fastmcp import FastMCP as MCPServer

from mcp import types


class Name(BaseModel):
    name: str


def build() -> MCPServer:
    server = MCPServer("wishes")

    @server.tool()
    async def greet(ctx: Context) -> str:
        """Greet the user by name."""
        answer = await ctx.elicit("Your name?", Name)
        return f"the user said {answer.action}"

    @server.tool()
    async def compose(ctx: Context) -> str:
        """Have the client's model write something."""
        message: Any = types.SamplingMessage(
            role="user", content=types.TextContent(type="text", text="A haiku, please")
        )
        try:
            await ctx.session.create_message([message], max_tokens=10)
        except Exception as error:  # noqa: BLE001 - mcp 1.x and 2.x name it differently
            return f"no model: {error}"
        return "composed"

    return server


if __name__ == "__main__":
    build().run()
