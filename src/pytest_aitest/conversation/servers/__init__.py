"""Tool servers: whatever offers tools, and the one live link that a session has to each. The door to mcp is in here.

Knows one call at a time, and nothing of turns, models or who may use which tool. Importing it does not import mcp;
opening the first server does.
"""

from .connection import Connection
from .outcome import ToolOutcome
from .pool import ServerPool
from .schemas import check_schema

__all__ = ["Connection", "ServerPool", "ToolOutcome", "check_schema"]
