"""What is known beforehand: wrong versions with their names, and honest styles."""
