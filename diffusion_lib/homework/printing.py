"""Print on any code page: a letter that a terminal or a file lacks is spelled out, and never ends the program."""

import codecs
import sys
import unicodedata

SPELLED = {
    "✓": "yes", "✗": "no", "√": "sqrt ", "·": "*", "−": "-", "–": "-", "—": "-", "→": "->", "←": "<-", "×": "x",
    "≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "∞": "inf", "∈": "in", "⁄": "/", "±": "+-",
    "²": "^2", "³": "^3", "∝": "~",
    "\u0304": "_bar", "\u0303": "_tilde", "\u0302": "_hat", "“": '"', "”": '"', "„": '"', "‘": "'", "’": "'",
}  # fmt: skip


def on_any_code_page() -> None:
    """Let what this program prints, and what it says of errors, be spelled where it cannot be encoded."""
    codecs.register_error("spelled", _spelled)
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="spelled")


def _spelled(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(spelled, error.object[error.start : error.end])), error.end


def spelled(letter: str) -> str:
    """``letter`` in ASCII: by the table, as a Greek letter's name, without its accent; "?" where nothing fits."""
    if letter.isascii() or letter in SPELLED:
        return SPELLED.get(letter, letter)
    name = unicodedata.name(letter, "")
    for case in ("SMALL", "CAPITAL"):
        if name.startswith(f"GREEK {case} LETTER ") and name.count(" ") == 3:
            word = name.rpartition(" ")[2]
            return word.lower() if case == "SMALL" else word.capitalize()
    parts = unicodedata.normalize("NFKD", letter)
    return "".join(map(spelled, parts)) if parts != letter else "" if unicodedata.combining(letter) else "?"
