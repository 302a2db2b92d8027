"""Run an operation again until it is known whether it leaks, and then where it comes from."""
