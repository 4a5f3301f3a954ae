"""A bank with two accounts, which keeps its balances as long as it lives."""

try:
    from mcp.server import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
except ImportError:  # mcp 1.x
    from mcp.server.fastmcp import FastMCP as MCPServer
    from mcp.server.fastmcp.exceptions import ToolError

START = {"checking": 1500, "savings": 3000}


def build() -> MCPServer:
    server = MCPServer("bank")
    balances = dict(START)

    @server.tool()
    def get_balance(account: str) -> int:
        """The balance of one account."""
        if account not in balances:
            raise ToolError(f"There is no account {account!r}")
        return balances[account]

    @server.tool()
    def withdraw(amount: int) -> dict[str, int]:
        """Take money from the checking account."""
        if amount > balances["checking"]:
            raise ValueError("secret: overdrawn")
        balances["checking"] -= amount
        return balances

    @server.tool()
    def start_over() -> str:
        """Bring both accounts back to their first balance."""
        balances.update(START)
        return "done"

    return server


if __name__ == "__main__":
    build().run()
