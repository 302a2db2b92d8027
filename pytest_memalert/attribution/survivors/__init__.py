"""What leaks: what each run leaves behind, counted and put in groups."""
