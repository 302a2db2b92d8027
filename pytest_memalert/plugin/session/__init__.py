"""What is made of all tests in the end, once per session."""
