"""Judge each test: by rules, by what comes back when it is run again, by the baseline."""
