"""The concept inventory: its questions, and what a class's answers say."""
