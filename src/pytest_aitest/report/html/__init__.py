"""A run as one page of HTML: in one file, without network, fit to be opened from a disk, sent, printed.

Owns the only door to jinja2. Whatever models, tools and users wrote is inert in it: escaped, its control characters
visible, and the page's own policy lets nothing run or load but what stands in the file.
"""

from .page import render

__all__ = ["render"]
