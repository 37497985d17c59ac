"""Passwords: what may be one, and whether one is right.

Two profiles. ``nist-800-63b-4`` asks for length and for nothing that is known to be guessed first: no composition, no
rotation. ``legacy`` asks for what older policies demand besides, and says on its label that it does. Both look at the
same blocklists.

A password is normalised (NFKC) before it is measured or hashed, so that it is the same from every keyboard.

Source: NIST SP 800-63B-4 3.1.1; OWASP ASVS 5.0 6.2.
"""

import re
import threading
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha1
from pathlib import Path
from typing import Final, Protocol

from leadglass.base.errors import ConfigurationError, UsageError
from leadglass.base.limits import SIGN_INS_AT_ONCE_MAX
from leadglass.base.secret import Secret
from leadglass.trust.identity import events
from leadglass.trust.identity.database import IdentityDatabase, Transaction
from leadglass.trust.identity.interfaces import IdentityEvents, PasscodeVerifier
from leadglass.trust.identity.models import Account, Origin

PASSWORD_OCTETS_MAX: Final = 1024
"""128 characters of four octets and their marks; longer is not looked at."""
LEGACY_LABEL: Final = "required by your local policy; contradicts NIST SP 800-63B-4"

MIGRATIONS: Final = (
    """CREATE TABLE password (account_id TEXT PRIMARY KEY, verifier TEXT NOT NULL, set_at INTEGER NOT NULL,
       alone INTEGER NOT NULL) STRICT""",
    """CREATE TABLE password_history (account_id TEXT NOT NULL, set_at INTEGER NOT NULL, verifier TEXT NOT NULL)
       STRICT""",
    "CREATE TABLE passcode (account_id TEXT PRIMARY KEY, verifier TEXT NOT NULL) STRICT",
)


@dataclass(frozen=True, slots=True)
class PasswordProfile:
    """What a site asks of passwords.

    Attributes:
        name: of the setting.
        label: shown wherever the profile is; empty for the default.
        minimum_alone: characters of a password that is the only factor.
        minimum_with_factor: characters where a second factor is shown as well.
        maximum: characters.
        classes: of lower case, upper case, digits and others, how many must occur; 0 asks for none.
        days_max: after so many days it must be changed; 0 for never.
        history: so many earlier ones may not come back; 0 for no memory.
    """

    name: str = "nist-800-63b-4"
    label: str = ""
    minimum_alone: int = 15
    minimum_with_factor: int = 8
    maximum: int = 128
    classes: int = 0
    days_max: int = 0
    history: int = 0


NIST: Final = PasswordProfile()


def legacy(*, minimum: int = 12, classes: int = 3, days_max: int = 90, history: int = 10) -> PasswordProfile:
    """Return the profile for auditors who demand composition and rotation; it carries its label.

    Raises:
        ConfigurationError: it would ask for less than eight characters, or keep more than 24 old passwords.
    """
    if not 8 <= minimum <= 64 or not 0 <= classes <= 4 or not 0 <= history <= 24 or days_max < 0:
        raise ConfigurationError("the legacy password profile is out of its bounds")
    return PasswordProfile("legacy", LEGACY_LABEL, minimum, minimum, 128, classes, days_max, history)


class Blocklist(Protocol):
    """Passwords that are guessed first."""

    def contains(self, password: str) -> bool:
        """Tell whether this very password is among them."""
        ...


class BreachedPasswords:
    """A file of SHA-1 hashes of breached passwords, in hex, sorted, one a line, ``HASH`` or ``HASH:count``.

    It is searched where it lies, by halving: about 40 reads of a file of 40 GB, and no memory.

    Raises:
        ConfigurationError: the file cannot be read or does not look so.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with path.open("rb") as file:
                first = file.readline(256)
        except OSError as error:
            raise ConfigurationError(
                f"the list of breached passwords cannot be read: {error.strerror}"
            ) from error
        if len(first.partition(b":")[0].strip()) != 40:
            raise ConfigurationError(
                "the list of breached passwords is not a sorted file of SHA-1 hashes",
                hint="the list ordered by hash is wanted, not the one ordered by prevalence",
            )

    def contains(self, password: str) -> bool:
        """Tell whether the list holds the password.

        Raises:
            ConfigurationError: the file went away; no password can be set then.
        """
        # SHA-1 because the list is one of SHA-1; nothing is protected by it here.
        wanted = sha1(password.encode("utf-8"), usedforsecurity=False).hexdigest().upper().encode("ascii")
        try:
            with self._path.open("rb") as file:
                low, high = 0, file.seek(0, 2)
                while low < high:
                    middle = (low + high) // 2
                    file.seek(middle)
                    if middle:
                        file.seek(middle - 1)
                        file.readline(256)
                    start = file.tell()
                    found = file.readline(256)[:40].upper()
                    if start >= high or not found:
                        high = middle
                    elif found < wanted:
                        low = start + 1
                    elif found > wanted:
                        high = middle
                    else:
                        return True
        except OSError as error:
            raise ConfigurationError(
                f"the list of breached passwords cannot be read: {error.strerror}"
            ) from error
        return False


# What people choose when they are asked to choose something: words, names of keys, months, what a hospital is about.
_WORDS: Final = (  # noqa: SIM905 - a table of words reads better so
    "password passwort motdepasse contrasena parola senha welcome willkommen bienvenue letmein letmeinnow iloveyou "
    "qwerty qwertz azerty asdfgh zxcvbn administrator admin root guest default changeme changeit secret master login "
    "dragon monkey sunshine princess football baseball superman batman pokemon starwars whatever trustno "
    "january february march april may june july august september october november december "
    "monday tuesday wednesday thursday friday saturday sunday spring summer autumn winter "
    "hospital clinic radiology radiologie radiologist doctor nurse dicom pacs orthanc medical medicine imaging xray "
    "correcthorsebatterystaple passphrase thisismypassword mypassword iloveyou computer internet test testing demo"
).split()
_RUNS: Final = (
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890",
    "qwertyuiop",
    "qwertzuiop",
    "azertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "yxcvbnm",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
)
_SWAPPED: Final = str.maketrans("@4301!5$7", "aaeoiisst")


class CommonPasswords:
    """What needs no list: repetitions, runs of keys, and common words with what people hang on to them."""

    def contains(self, password: str) -> bool:
        """Tell whether the password is one of those."""
        folded = password.casefold()
        bare = "".join(c for c in folded if not c.isspace())
        return not bare or _repeats(bare) or _runs(bare) or _is_word(bare, _WORDS)


def _repeats(text: str) -> bool:
    return any(text == (text[:size] * len(text))[: len(text)] for size in range(1, min(4, len(text) - 1) + 1))


def _runs(text: str) -> bool:
    doubled = [part for run in _RUNS for part in (run + run, (run + run)[::-1])]
    half = (len(text) + 1) // 2
    # The whole is one run, or two of them: abcdefgh12345678.
    return any(
        all(any(piece in run for run in doubled) for piece in (text[:cut], text[cut:]) if piece)
        and min(cut, len(text) - cut) != 1
        for cut in {len(text), half, *range(3, len(text) - 2)}
    )


def _is_word(text: str, words: Sequence[str]) -> bool:
    """Tell whether nothing but known words is left when digits and signs are taken off."""
    for form in {text, text.translate(_SWAPPED)}:
        core = "".join(c for c in form if c.isalpha())
        trimmed = form.strip("0123456789!?.,;:-_*#+$%&/()= ")
        if _made_of(core, words) or _made_of(trimmed, words):
            return True
    return False


def _made_of(text: str, words: Sequence[str]) -> bool:
    if not text:
        return False
    reached = {0}
    for end in range(1, len(text) + 1):
        if any(end - len(w) in reached and text.endswith(w, 0, end) for w in words if len(w) <= end):
            reached.add(end)
    return len(text) in reached


def normalised(password: Secret) -> str | None:
    """Return the password in NFKC, or None when it is no text or too long to be looked at."""
    octets = password.reveal()
    if len(octets) > PASSWORD_OCTETS_MAX:
        return None
    try:
        return unicodedata.normalize("NFKC", octets.decode("utf-8"))
    except UnicodeDecodeError:
        return None


@dataclass(frozen=True, slots=True)
class PasswordVerdict:
    """What a try came to.

    Attributes:
        right: it is the account's password.
        must_change: too old, or too short for an account without a second factor.
    """

    right: bool
    must_change: bool = False


@dataclass(frozen=True, slots=True)
class DerivedPassword:
    """What is kept of a password: its verifier, and whether it is long enough to stand alone."""

    verifier: str = field(repr=False)
    alone: bool


class Passwords:
    """Sets and checks passwords and DIMSE passcodes. Thread-safe; few derivations run at once.

    Args:
        database: where verifiers are kept.
        verifier: Argon2id.
        recorder: told of every change.
        profile: what the site asks for.
        blocklists: looked at whenever a password is set.
        context_words: names of the site and of what runs on it; ``leadglass`` is always one.
    """

    def __init__(
        self,
        database: IdentityDatabase,
        verifier: PasscodeVerifier,
        recorder: IdentityEvents,
        *,
        profile: PasswordProfile = NIST,
        blocklists: Sequence[Blocklist] = (),
        context_words: Sequence[str] = (),
    ) -> None:
        self.profile = profile
        self._database = database
        self._clock = database.clock
        self._verifier = verifier
        self._events = recorder
        self._blocklists: tuple[Blocklist, ...] = (CommonPasswords(), *blocklists)
        self._context = tuple(word.casefold() for word in ("leadglass", *context_words) if len(word) > 3)
        self._waiting = threading.BoundedSemaphore(SIGN_INS_AT_ONCE_MAX)
        database.register("passwords", MIGRATIONS)

    @cached_property
    def _nobody(self) -> str:
        return self._verifier.verifier(Secret(b"nobody has this password"))

    def prepare(self) -> None:
        """Make what unknown names are checked against, so that the first of them does not take twice as long."""
        _ = self._nobody

    def problems(self, account: Account, password: Secret, *, with_factor: bool) -> tuple[str, ...]:
        """Return what is wrong with a new password, in words for the person; empty when it may be set.

        Raises:
            ConfigurationError: a blocklist cannot be read.
        """
        text = normalised(password)
        if text is None:
            return ("It cannot be read as text.",)
        found: list[str] = []
        minimum = self.profile.minimum_with_factor if with_factor else self.profile.minimum_alone
        if len(text) < minimum:
            found.append(
                f"It needs at least {minimum} characters; a few words in a row are easy to remember."
            )
        if len(text) > self.profile.maximum:
            found.append(f"It may have at most {self.profile.maximum} characters.")
        if _classes(text) < self.profile.classes:
            found.append(
                f"It needs {self.profile.classes} of: lower case, upper case, digits, other characters"
                f" ({self.profile.label})."
            )
        if self._is_known(account, text):
            found.append(
                "It is among the passwords that are guessed first, or it is made of names of this place."
            )
        if not found and self._was_used(account.account_id, text):
            found.append(f"It was used before ({self.profile.label}).")
        return tuple(found)

    def set(self, account: Account, password: Secret, origin: Origin, *, with_factor: bool) -> None:
        """Set a password.

        Raises:
            UsageError: it has problems; see ``problems``.
        """
        problems = self.problems(account, password, with_factor=with_factor)
        if problems:
            raise UsageError(" ".join(problems))
        derived = self.derive(password)
        with self._database.writing() as transaction:
            self.set_in(transaction, account, derived, origin)

    def derive(self, password: Secret) -> "DerivedPassword":
        """Return what is kept of a password that has no problems: slow, so before a transaction begins."""
        text = normalised(password) or ""
        verifier = self._verifier.verifier(Secret(text.encode("utf-8")))
        return DerivedPassword(verifier, alone=len(text) >= self.profile.minimum_alone)

    def set_in(
        self, transaction: Transaction, account: Account, derived: "DerivedPassword", origin: Origin
    ) -> None:
        """Set a password inside a transaction of the caller."""
        now = int(self._clock.now().timestamp())
        if self.profile.history:
            transaction.execute(
                "INSERT INTO password_history SELECT account_id, set_at, verifier FROM password WHERE account_id = ?",
                (account.account_id,),
            )
            transaction.execute(
                """DELETE FROM password_history WHERE account_id = ?1 AND rowid NOT IN (SELECT rowid FROM
                   password_history WHERE account_id = ?1 ORDER BY set_at DESC, rowid DESC LIMIT ?2)""",
                (account.account_id, self.profile.history),
            )
        transaction.execute(
            "REPLACE INTO password VALUES (?, ?, ?, ?)",
            (account.account_id, derived.verifier, now, int(derived.alone)),
        )
        self._events.record(
            events.CREDENTIAL_ENROLLED, account.principal_id, origin, facts={"credential": "password"}
        )

    def remove(self, account: Account, origin: Origin) -> None:
        """Take the password away: they come by an identity provider, a passkey or an invitation then."""
        with self._database.writing() as transaction:
            transaction.execute("DELETE FROM password WHERE account_id = ?", (account.account_id,))
            transaction.execute("DELETE FROM password_history WHERE account_id = ?", (account.account_id,))
            self._events.record(
                events.CREDENTIAL_REMOVED, account.principal_id, origin, facts={"credential": "password"}
            )

    def verify(
        self, account_id: str, password: Secret, *, usable: bool, with_factor: bool
    ) -> PasswordVerdict | None:
        """Say whether it is the password; None when too many are being checked.

        Takes the time of one derivation whatever the answer is: there is no such account, it has no password, it may
        not be used, the password is wrong.
        """
        nobody = self._nobody
        text = normalised(password)
        with self._database.reading() as snapshot:
            rows = snapshot.execute(
                "SELECT verifier, set_at, alone FROM password WHERE account_id = ?", (account_id,)
            )
        verifier, set_at, alone = rows[0] if rows else (nobody, 0, 1)
        if not self._waiting.acquire(blocking=False):
            return None
        try:
            right = self._verifier.verify(Secret((text or "").encode("utf-8")), verifier)
        finally:
            self._waiting.release()
        if not (right and rows and usable and text):
            return PasswordVerdict(right=False)
        age = self._clock.now().timestamp() - set_at
        old = self.profile.days_max > 0 and age >= self.profile.days_max * 86_400
        return PasswordVerdict(right=True, must_change=old or (not alone and not with_factor))

    def exists(self, account_id: str) -> bool:
        """Tell whether the account has a password."""
        with self._database.reading() as snapshot:
            return bool(snapshot.execute("SELECT 1 FROM password WHERE account_id = ?", (account_id,)))

    # --- passcodes of DIMSE user identity ----------------------------------------------------------------------------

    def check_passcode(self, account: Account, passcode: Secret) -> None:
        """Say whether it may be a passcode.

        Raises:
            UsageError: it is shorter than twelve characters or among those that are guessed first.
        """
        text = normalised(passcode)
        if text is None or len(text) < PASSCODE_CHARACTERS_MIN:
            raise UsageError(f"a passcode has at least {PASSCODE_CHARACTERS_MIN} characters")
        if self._is_known(account, text):
            raise UsageError("that passcode is among those that are guessed first")

    def set_passcode(self, account: Account, passcode: Secret, origin: Origin) -> None:
        """Set what the account shows in user identity negotiation: never its password, as modalities store it.

        Raises:
            UsageError: as ``check_passcode``.
        """
        self.check_passcode(account, passcode)
        verifier = self._verifier.verifier(passcode)
        with self._database.writing() as transaction:
            transaction.execute("REPLACE INTO passcode VALUES (?, ?)", (account.account_id, verifier))
            self._events.record(
                events.CREDENTIAL_ENROLLED, account.principal_id, origin, facts={"credential": "passcode"}
            )

    def passcode_verifier(self, account_id: str) -> str:
        """Return the verifier of the account's passcode; empty when it has none."""
        with self._database.reading() as snapshot:
            rows = snapshot.execute("SELECT verifier FROM passcode WHERE account_id = ?", (account_id,))
        return str(rows[0][0]) if rows else ""

    # --- inside ------------------------------------------------------------------------------------------------------

    def _is_known(self, account: Account, text: str) -> bool:
        if any(blocklist.contains(text) for blocklist in self._blocklists):
            return True
        parts = re.split(r"[^\w]+|_", f"{account.account_id} {account.display_name}".casefold())
        whole = (
            "".join(c for c in t.casefold() if c.isalnum())
            for t in (account.account_id, account.display_name)
        )
        words = [word for word in (*parts, *whole) if len(word) > 2]
        bare = "".join(c for c in text.casefold() if not c.isspace())
        return _is_word(bare, [*words, *self._context, *_WORDS])

    def _was_used(self, account_id: str, text: str) -> bool:
        if not self.profile.history:
            return False
        with self._database.reading() as snapshot:
            rows = snapshot.execute(
                """SELECT verifier FROM password WHERE account_id = ?1
                   UNION ALL SELECT verifier FROM password_history WHERE account_id = ?1""",
                (account_id,),
            )
        return any(self._verifier.verify(Secret(text.encode("utf-8")), row[0]) for row in rows)


PASSCODE_CHARACTERS_MIN: Final = 12
"""Below a password's: it is shown inside mutual TLS only, through an enrolled device, and waits grow with every failure."""


def _classes(text: str) -> int:
    return sum(
        (
            any(c.islower() for c in text),
            any(c.isupper() for c in text),
            any(c.isdigit() for c in text),
            any(not c.isalnum() for c in text),
        )
    )
