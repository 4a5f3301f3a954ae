"""A bank as an MCP server. Its accounts live as long as the server."""

from typing import Annotated

from mcp.types import ToolAnnotations
from pydantic import Field

try:
    from mcp.server import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
except ImportError:  # mcp 1.x
    from mcp.server.fastmcp import FastMCP as MCPServer
    from mcp.server.fastmcp.exceptions import ToolError

Account = Annotated[str, Field(description="'checking' or 'savings'")]


def build() -> MCPServer:
    """A bank with $1,500 in checking and $3,000 in savings."""
    server = MCPServer("banking")
    balances = {"checking": 1_500.00, "savings": 3_000.00}

    def check_account(account: str) -> None:
        if account not in balances:
            raise ToolError(f"There is no account {account!r}. The accounts are {', '.join(balances)}.")

    @server.tool(annotations=ToolAnnotations(readOnlyHint=True))
    def get_balance(account: Account) -> dict[str, str | float]:
        """Get the balance of one account, in US dollars."""
        check_account(account)
        return {"account": account, "balance": balances[account]}

    @server.tool(annotations=ToolAnnotations(readOnlyHint=True))
    def get_all_balances() -> dict[str, float]:
        """Get the balances of all accounts and their total, in US dollars."""
        return {**balances, "total": round(sum(balances.values()), 2)}

    @server.tool(annotations=ToolAnnotations(readOnlyHint=False))
    def transfer(amount: float, from_account: Account, to_account: Account) -> str:
        """Move an amount of US dollars from one account to another."""
        check_account(from_account)
        check_account(to_account)
        if from_account == to_account:
            raise ToolError(f"from_account and to_account are both {to_account!r}. Name two different accounts.")
        if amount <= 0:
            raise ToolError(f"The amount must be more than $0, not ${amount:,.2f}.")
        if amount > balances[from_account]:
            raise ToolError(
                f"There are only ${balances[from_account]:,.2f} in {from_account}, so ${amount:,.2f} can't go out."
            )
        balances[from_account] = round(balances[from_account] - amount, 2)
        balances[to_account] = round(balances[to_account] + amount, 2)
        return f"Transferred ${amount:,.2f} from {from_account} to {to_account}."

    return server


if __name__ == "__main__":
    build().run()
