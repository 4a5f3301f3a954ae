"""Records as people read them. Imports `values` only: everything shown can be made from what was recorded."""
