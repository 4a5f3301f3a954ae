"""What users write and read: declarations in, results and transcripts out.

Frozen, without I/O, and light to import. Imports nothing else of this package.
"""
