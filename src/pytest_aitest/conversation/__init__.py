"""Having one conversation: models, tool servers, turns, sessions. Imports `values` only."""
