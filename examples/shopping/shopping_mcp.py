"""A shop as an MCP server. Its cart lives as long as its process."""

from dataclasses import dataclass

from mcp.types import ToolAnnotations

try:
    from mcp.server import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
except ImportError:  # mcp 1.x
    from mcp.server.fastmcp import FastMCP as MCPServer
    from mcp.server.fastmcp.exceptions import ToolError


@dataclass(frozen=True)
class Product:
    id: str
    brand: str
    name: str
    category: str
    price: float


@dataclass(frozen=True)
class Line:
    product: str
    quantity: int
    price: float


@dataclass(frozen=True)
class Cart:
    items: list[Line]
    total: float


CATALOGUE = [
    Product("NK-41", "Nike", "Pegasus 41", "running shoes", 140.00),
    Product("BR-16", "Brooks", "Ghost 16", "running shoes", 130.00),
    Product("AS-27", "Asics", "Gel-Cumulus 27", "running shoes", 120.00),
    Product("SL-06", "Salomon", "Speedcross 6", "trail shoes", 145.00),
    Product("NK-03", "Nike", "Everyday Crew", "socks", 16.00),
]

server = MCPServer("shopping")
cart: dict[str, int] = {}  # product id -> quantity


@server.tool(annotations=ToolAnnotations(readOnlyHint=True))
def search_products(query: str) -> list[Product]:
    """Search the shop's products by brand, name or category. Prices are in US dollars."""
    words = query.lower().split()
    return [p for p in CATALOGUE if all(word in f"{p.brand} {p.name} {p.category}".lower() for word in words)]


@server.tool(annotations=ToolAnnotations(readOnlyHint=False))
def add_to_cart(product_id: str, quantity: int = 1) -> str:
    """Put a product into the cart."""
    product = find_product(product_id)
    if quantity < 1:
        raise ToolError(f"The quantity must be at least 1, not {quantity}.")
    cart[product_id] = cart.get(product_id, 0) + quantity
    return f"Added {quantity} x {product.brand} {product.name} to the cart."


@server.tool(annotations=ToolAnnotations(readOnlyHint=True))
def view_cart() -> Cart:
    """Show what is in the cart and the total price, in US dollars."""
    products = [(find_product(product_id), quantity) for product_id, quantity in cart.items()]
    lines = [Line(f"{product.brand} {product.name}", quantity, product.price) for product, quantity in products]
    return Cart(lines, total=sum(line.quantity * line.price for line in lines))


def find_product(product_id: str) -> Product:
    for product in CATALOGUE:
        if product.id == product_id:
            return product
    raise ToolError(f"There is no product {product_id!r}. Search for products first, then use the id of one.")


if __name__ == "__main__":
    server.run()
