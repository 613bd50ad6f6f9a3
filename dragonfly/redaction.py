"""What of a text may be told: words for people stay, whatever could be somebody's data goes.

``redact`` is for sentences whose words are chosen (ours, a library's log); ``plain_words`` for the
message of any exception, where a value may stand anywhere; ``printable`` for what a terminal gets.
"""

from __future__ import annotations

import errno
import os
import re
import socket

HIDDEN = "***"
_MOST = 500
# an apostrophe inside a word opens nothing, and a quotation that nobody closes goes to the end
_QUOTED = re.compile(
    r"""(?<!\w)'(?:\\.|[^'\\]|'(?=\w))*(?:'(?!\w)|$)"""
    r"""|"(?:\\.|[^"\\])*(?:"|$)"""
    r"""|`[^`]*(?:`|$)""",
    re.DOTALL,
)
_CREDENTIALS = (
    # all of a login but the user's name, whatever unencoded signs the password has
    (re.compile(r"(\w+://[^:/@\s'\"]*):[^\s'\"]*@"), r"\1:***@"),
    # of an address the host is enough: tokens travel in paths and queries
    (re.compile(r"(\b(?!postgres)\w+://[^\s/?#'\"]+)[/?#][^\s'\"]+"), r"\1/***"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]*\.?[\w-]*"), HIDDEN),
    (re.compile(r"\bsb_(secret|publishable)_\w+"), HIDDEN),
    (re.compile(r"(?i)\b(bearer|basic)\s+\S+"), r"\1 ***"),
    (
        re.compile(r"(?i)\b(\w*(?:password|passwd|secret|token|api_?key))(\s*[=:]\s*)\S+"),
        r"\1\2***",
    ),
)
_DATA = (
    (re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+"), HIDDEN),
    (_QUOTED, "'***'"),
    (re.compile(r"\d{4,}|\b\d{3}-\d{2}-\d{4}\b"), HIDDEN),
)
# small letters and signs, a short number, or what is hidden already
_PLAIN = re.compile(r"[(\[<'\":]*(?:[a-z_][-a-z_'./:@*()]*|-?\d{1,3}|\*\*\*)[)\]>'\":;,.!?]*")
# what sentences of libraries begin with
_OPENERS = re.compile(
    r"A|All|An|Attempt|Bad|Cannot|Client|Connect|Connection|Could|Errno|Error|Event|Expected"
    r"|Expecting|Failed|File|Illegal|Incorrect|Input|Invalid|Is|It|Job|JSON|Missing|Multiple|Name"
    r"|Network|No|Not|Object|Only|Operation|Out|Received|Request|Response|Server|SSL|The|This|Timed"
    r"|Timeout|Too|Unable|Unexpected|Unknown|Unsupported|URL|Value"
)


def redact(text: str, most: int = _MOST) -> str:
    """The text without logins, keys, paths of addresses, quoted values, e-mails, long numbers."""
    # cut first, with room to see what is cut off: a pattern's time grows with the text
    text = without_credentials(text[: 4 * most])
    for pattern, replacement in _DATA:
        text = pattern.sub(replacement, text)
    return storable(text[:most])


def without_credentials(text: str) -> str:
    """The text without logins, keys, tokens and paths of addresses; names and numbers stay."""
    for pattern, replacement in _CREDENTIALS:
        text = pattern.sub(replacement, text)
    return text


def plain_words(text: str) -> str:
    """The text with nothing but plain words: names, codes and keys are hidden, wherever they stand.

    A word in small letters passes, for it cannot be told from the sentence around it.
    """
    return " ".join(map(_plain, redact(text).split()))


def _plain(word: str) -> str:
    if _PLAIN.fullmatch(word) or _OPENERS.fullmatch(word.strip("()[]:,.")):
        return word
    return HIDDEN


def describe_exception(error: BaseException) -> str:
    """Its class, and what of its message may be told."""
    said = _system_words(error) or plain_words(_words_of(error))
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _words_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - an error that cannot say what it is has its name still
        return ""


def _system_words(error: BaseException) -> str | None:
    """The system's own sentence, without the file or the address it was about."""
    if isinstance(error, socket.gaierror):
        return "the host's name cannot be resolved"
    if isinstance(error, OSError) and error.errno is not None and error.errno in errno.errorcode:
        return os.strerror(error.errno)
    return None


def storable(text: str) -> str:
    """The text without what PostgreSQL's ``text`` cannot hold: NUL, and halves of characters."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def printable(text: str) -> str:
    """The text as one line that steers no terminal: control and direction marks as escapes."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
