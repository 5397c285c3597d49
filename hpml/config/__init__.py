"""Where the configuration lies, what it may say, and what identifies it."""
