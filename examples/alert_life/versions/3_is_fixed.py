"""A journal that throws its drafts away."""

ENTRIES = []


def write(text: str) -> str:
    """Return the entry as it was written."""
    draft = bytearray(text.encode() * 12_000)
    assert draft
    return text + "."


def read() -> list[str]:
    """Return all entries."""
    return list(ENTRIES)
