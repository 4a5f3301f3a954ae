"""Plans carried out over the conversation tree, whatever their steps are made of."""
