"""What agents answered, kept in a file: a later run takes it from there, and asks no model and starts no server."""
