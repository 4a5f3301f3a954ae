"""How a shard of an exploration is written: `2/4`, and so at the end of what stands in brackets in its node id."""

import re

_LAST = re.compile(r"::explore\[(?:[^\n]*-)?(\d+/\d+)\]")


def shard_in(nodeid: str) -> str:
    """The shard that a node id seems to name; empty for none. Parameters of a user's own may look alike."""
    found = _LAST.search(nodeid)
    return found[1] if found else ""


def without_shard(nodeid: str, shard: str) -> str:
    """`explore[a-2/4]` -> `explore[a]`, whatever stands before and behind; `nodeid` itself without a shard."""
    before, named, behind = nodeid.rpartition(f"{shard}]") if shard else ("", "", "")
    if not named:
        return nodeid
    return before[:-1] + behind if before.endswith("[") else before.removesuffix("-") + "]" + behind
