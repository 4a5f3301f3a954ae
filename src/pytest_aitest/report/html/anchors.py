"""Names that links in a page lead to: readable, and each given once."""

import re

_LONGEST = 60


class Anchors:
    """What has been given in one page."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def new(self, prefix: str, name: str) -> str:
        """An anchor for what is called `name`, however it is written.

        >>> anchors = Anchors()
        >>> [anchors.new("session", "shopping[a/b]"), anchors.new("session", "Shopping(a b)")]
        ['session-shopping-a-b', 'session-shopping-a-b~2']
        """
        plain = re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-")[:_LONGEST].strip("-")
        base = f"{prefix}-{plain}" if plain else prefix
        anchor, number = base, 1
        while anchor in self._taken:
            number += 1
            anchor = f"{base}~{number}"
        self._taken.add(anchor)
        return anchor
