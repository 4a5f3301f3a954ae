"""The same bank, in a hurry: a balance that it has told is not looked up again when money goes out.

That is a defect, planted for `test_machine.py` to find: between telling and taking, money may have come in.
"""

from mcp.types import ToolAnnotations

try:
    from mcp.server import MCPServer
except ImportError:  # mcp 1.x
    from mcp.server.fastmcp import FastMCP as MCPServer

from banking_mcp import Account


def build() -> MCPServer:
    server = MCPServer("hasty-bank")
    balances = {"checking": 1_500.00, "savings": 3_000.00}
    told: dict[str, float] = {}

    @server.tool(annotations=ToolAnnotations(readOnlyHint=True))
    def get_balance(account: Account) -> dict[str, str | float]:
        """Get the balance of one account, in US dollars."""
        told[account] = balances[account]
        return {"account": account, "balance": balances[account]}

    @server.tool(annotations=ToolAnnotations(readOnlyHint=True))
    def get_all_balances() -> dict[str, float]:
        """Get the balances of all accounts and their total, in US dollars."""
        return {**balances, "total": round(sum(balances.values()), 2)}

    @server.tool(annotations=ToolAnnotations(readOnlyHint=False))
    def transfer(amount: float, from_account: Account, to_account: Account) -> str:
        """Move an amount of US dollars from one account to another."""
        balances[from_account] = round(told.pop(from_account, balances[from_account]) - amount, 2)
        balances[to_account] = round(balances[to_account] + amount, 2)
        return f"Transferred ${amount:,.2f} from {from_account} to {to_account}."

    return server


if __name__ == "__main__":
    build().run()
