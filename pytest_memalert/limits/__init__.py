"""The limits that tests are held to: the rules by default, those of a file, those of a marker."""
