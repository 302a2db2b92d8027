"""A journal that keeps a longer draft of every entry, and never throws one away."""

DRAFTS = []
ENTRIES = []


def write(text: str) -> str:
    """Return the entry as it was written."""
    DRAFTS.append(bytearray(text.encode() * 12_000))
    return text + "."


def read() -> list[str]:
    """Return all entries."""
    return list(ENTRIES)
