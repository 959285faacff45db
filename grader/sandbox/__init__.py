"""Hand-ins run here, shut in. The room is copied whole to where they run, and knows nothing of the rest."""
