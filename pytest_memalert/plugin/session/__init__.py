"""What happens once per session: what it was given, and what is made of all tests in the end."""
