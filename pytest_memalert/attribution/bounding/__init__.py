"""What grows and is no leak: containers that let go of things, and how it is seen that one does."""
