"""Text from outside as one printable line.

Text from a file, the command line or the network may contain line breaks, terminal controls or bytes that are no text.
Here it becomes printable, so that no input can forge a line of the log or control a terminal.
"""

# A path fits; a message stays one line that syslog takes.
LONGEST_QUOTED = 256


def printable(text: str) -> str:
    """`text` with every character that is not printable, and the backslash, written as an escape."""
    # Nearly all texts are as they should be, and each line of the log asks several times.
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(
        character if character.isprintable() and character != "\\" else escape(character) for character in text
    )


def escape(character: str) -> str:
    """One character as a backslash escape; a byte that was no text (PEP 383) as \\xNN."""
    if character == "\\":
        return "\\\\"
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def quoted(text: str) -> str:
    """`text` in double quotes, printable, the quotes inside it escaped; of a long one the beginning and the length."""
    more = f" ({len(text)} characters)" if len(text) > LONGEST_QUOTED else ""
    return '"' + printable(text[:LONGEST_QUOTED]).replace('"', '\\"') + ('..."' if more else '"') + more


def shortened(text: str) -> str:
    """`text`; of a long one the beginning and the length."""
    return text if len(text) <= LONGEST_QUOTED else f"{text[:LONGEST_QUOTED]}... ({len(text)} characters)"
