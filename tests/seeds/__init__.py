"""The lecture decks that symgrad grew out of: every algorithm, model, loss and example in them."""
