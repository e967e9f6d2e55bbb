"""Users and tokens in the store's file: rows to objects and back. Whoever writes is inside a transaction already."""

import apsw

from whodid.errors import NameTaken, NotFound
from whodid.store.base import Account, Credential, IdentityChange, PutToken, PutUser, Token, User
from whodid.store.rows import account_of, credential_of, fold, token_of, user_of

_ACCOUNT = "account_no, name, created_ms, size, frontier, identity_version"
_USER = "id, email, name, role, active, created_ms"
_TOKEN = "id, user_id, name, scope, digest, created_ms, expires_ms, expired_ms"  # noqa: S105 (columns)


def accounts(connection: apsw.Connection) -> list[Account]:
    """All accounts, by name."""
    return [account_of(row) for row in connection.execute(f"SELECT {_ACCOUNT} FROM account ORDER BY name")]  # noqa: S608


def account(connection: apsw.Connection, name: str) -> Account | None:
    """The account of this name."""
    row = connection.execute(f"SELECT {_ACCOUNT} FROM account WHERE name = ?", (name,)).fetchone()  # noqa: S608
    return account_of(row) if row else None


def account_numbered(connection: apsw.Connection, account_no: int) -> Account | None:
    """The account of this number."""
    row = connection.execute(f"SELECT {_ACCOUNT} FROM account WHERE account_no = ?", (account_no,)).fetchone()  # noqa: S608
    return account_of(row) if row else None


def identity_version(connection: apsw.Connection, account_no: int) -> int | None:
    """How often the account's users and tokens have changed."""
    version: int | None = connection.execute(
        "SELECT identity_version FROM account WHERE account_no = ?", (account_no,)
    ).get
    return version


def users(connection: apsw.Connection, account_no: int) -> list[User]:
    """All users of an account, by address."""
    rows = connection.execute(
        f"SELECT {_USER} FROM user WHERE account_no = ? ORDER BY email_folded",  # noqa: S608
        (account_no,),
    )
    return [user_of(row) for row in rows]


def user(connection: apsw.Connection, account_no: int, email: str) -> User | None:
    """The user with this address."""
    row = connection.execute(
        f"SELECT {_USER} FROM user WHERE account_no = ? AND email_folded = ?",  # noqa: S608
        (account_no, fold(email)),
    ).fetchone()
    return user_of(row) if row else None


def addresses(connection: apsw.Connection, account_no: int) -> dict[str, str]:
    """Id and address of every user."""
    rows = connection.execute("SELECT lower(hex(id)), email FROM user WHERE account_no = ?", (account_no,))
    return {str(user_id): str(email) for user_id, email in rows}


def tokens(connection: apsw.Connection, account_no: int) -> list[Token]:
    """All tokens of an account, the newest first."""
    rows = connection.execute(
        f"SELECT {_TOKEN} FROM token WHERE account_no = ? ORDER BY created_ms DESC, id DESC",  # noqa: S608
        (account_no,),
    )
    return [token_of(row) for row in rows]


def credential(connection: apsw.Connection, digest: bytes) -> Credential | None:
    """The token with this digest, its owner and account: one statement, so as they stood at one moment."""
    row = connection.execute(
        """
        SELECT a.account_no, a.name, a.created_ms, a.size, a.frontier, a.identity_version,
               u.id, u.email, u.name, u.role, u.active, u.created_ms,
               t.id, t.user_id, t.name, t.scope, t.digest, t.created_ms, t.expires_ms, t.expired_ms
        FROM token t
        JOIN user u ON u.account_no = t.account_no AND u.id = t.user_id
        JOIN account a ON a.account_no = t.account_no
        WHERE t.digest = ?
        """,
        (digest,),
    ).fetchone()
    return credential_of(row) if row else None


def apply(connection: apsw.Connection, account_no: int, change: IdentityChange) -> None:
    """Make one change. Raises ``NameTaken`` or ``NotFound`` before anything is written."""
    match change:
        case PutUser(user=user):
            _put_user(connection, account_no, user)
        case PutToken(token=token):
            _put_token(connection, account_no, token)


def _put_user(connection: apsw.Connection, account_no: int, user: User) -> None:
    user_id = bytes.fromhex(user.id)
    holder = connection.execute(
        "SELECT id FROM user WHERE account_no = ? AND email_folded = ?", (account_no, fold(user.email))
    ).get
    if holder not in (None, user_id):
        raise NameTaken(f"the account has a user {user.email} already")
    connection.execute(
        """
        INSERT INTO user VALUES (?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (account_no, id) DO UPDATE SET
            email = excluded.email, email_folded = excluded.email_folded, name = excluded.name,
            role = excluded.role, active = excluded.active
        """,
        (
            account_no,
            user_id,
            user.email,
            fold(user.email),
            user.name,
            user.role.value,
            user.active,
            user.created_ms,
        ),
    )


def _put_token(connection: apsw.Connection, account_no: int, token: Token) -> None:
    token_id, user_id = bytes.fromhex(token.id), bytes.fromhex(token.user_id)
    owner = connection.execute("SELECT id FROM user WHERE account_no = ? AND id = ?", (account_no, user_id)).get
    if owner is None:
        raise NotFound(f"the account has no user {token.user_id}")
    holder = connection.execute(
        "SELECT id FROM token WHERE account_no = ? AND user_id = ? AND name = ? AND expired_ms IS NULL",
        (account_no, user_id, token.name),
    ).get
    if token.expired_ms is None and holder not in (None, token_id):
        raise NameTaken(f"the user has a token named {token.name!r} already; expire it first, or take another name")
    connection.execute(
        """
        INSERT INTO token VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (account_no, id) DO UPDATE SET name = excluded.name, expired_ms = excluded.expired_ms
        """,
        (
            account_no, token_id, user_id, token.name, token.scope.value,
            token.digest, token.created_ms, token.expires_ms, token.expired_ms,
        ),
    )  # fmt: skip
