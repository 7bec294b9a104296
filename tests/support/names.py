"""Names that no two tests share."""

import secrets
import string


def fresh(prefix: str, letters: int = 8) -> str:
    """`prefix` and random letters. No digits: a name that could be a card or a key is not kept."""
    return prefix + "".join(secrets.choice(string.ascii_lowercase) for _ in range(letters))
