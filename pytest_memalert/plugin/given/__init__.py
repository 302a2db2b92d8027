"""What a session is given: settings, files that it may write and read, a baseline, the environment."""
