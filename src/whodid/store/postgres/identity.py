"""Accounts, users and tokens in the database: rows to objects and back."""

from whodid.errors import NameTaken, NotFound
from whodid.store.base import Account, Credential, IdentityChange, PutToken, PutUser, Token, User
from whodid.store.postgres.connection import Connection
from whodid.store.rows import account_of, credential_of, fold, token_of, user_of

_ACCOUNTS = """
    SELECT a.account_no, a.name, a.created_ms, h.size, h.frontier, h.identity_version
    FROM account a JOIN head h ON h.account_no = a.account_no
"""
_USER = "id, email, name, role, active, created_ms"
_TOKEN = "id, user_id, name, scope, digest, created_ms, expires_ms, expired_ms"  # noqa: S105 (columns)

_ACCOUNT_OF_TOKEN = """
    SELECT a.account_no, a.name, a.created_ms
    FROM token_digest d JOIN account a ON a.account_no = d.account_no
    WHERE d.digest = %s
"""  # noqa: S105 (a statement)
_CREDENTIAL = """
    SELECT h.size, h.frontier, h.identity_version,
           u.id, u.email, u.name, u.role, u.active, u.created_ms,
           t.id, t.user_id, t.name, t.scope, t.digest, t.created_ms, t.expires_ms, t.expired_ms
    FROM token t
    JOIN "user" u ON u.account_no = t.account_no AND u.id = t.user_id
    JOIN head h ON h.account_no = t.account_no
    WHERE t.account_no = %s AND t.digest = %s
"""


async def accounts(connection: Connection) -> list[Account]:
    """All accounts, by name."""
    found = await connection.execute(_ACCOUNTS + ' ORDER BY a.name COLLATE "C"')
    return [account_of(row) for row in await found.fetchall()]


async def account(connection: Connection, name: str) -> Account | None:
    """The account of this name. Its number first: then its head can be asked for by it, where its data is."""
    found = await connection.execute("SELECT account_no, name, created_ms FROM account WHERE name = %s", (name,))
    known = await found.fetchone()
    if known is None:
        return None
    found = await connection.execute(
        "SELECT size, frontier, identity_version FROM head WHERE account_no = %s", (known[0],)
    )
    head = await found.fetchone()
    return account_of((*known, *head)) if head else None


async def identity_version(connection: Connection, account_no: int) -> int | None:
    """How often the account's users and tokens have changed."""
    found = await connection.execute("SELECT identity_version FROM head WHERE account_no = %s", (account_no,))
    row = await found.fetchone()
    return int(row[0]) if row else None


async def users(connection: Connection, account_no: int) -> list[User]:
    """All users of an account, by address."""
    found = await connection.execute(
        f'SELECT {_USER} FROM "user" WHERE account_no = %s ORDER BY email_folded COLLATE "C"',  # noqa: S608
        (account_no,),
    )
    return [user_of(row) for row in await found.fetchall()]


async def user(connection: Connection, account_no: int, email: str) -> User | None:
    """The user with this address."""
    found = await connection.execute(
        f'SELECT {_USER} FROM "user" WHERE account_no = %s AND email_folded = %s',  # noqa: S608
        (account_no, fold(email)),
    )
    row = await found.fetchone()
    return user_of(row) if row else None


async def addresses(connection: Connection, account_no: int) -> dict[str, str]:
    """Id and address of every user."""
    found = await connection.execute('SELECT id, email FROM "user" WHERE account_no = %s', (account_no,))
    return {user_id.hex(): email for user_id, email in await found.fetchall()}


async def tokens(connection: Connection, account_no: int) -> list[Token]:
    """All tokens of an account, the newest first."""
    found = await connection.execute(
        f"SELECT {_TOKEN} FROM token WHERE account_no = %s ORDER BY created_ms DESC, id DESC",  # noqa: S608
        (account_no,),
    )
    return [token_of(row) for row in await found.fetchall()]


async def credential(connection: Connection, digest: bytes) -> Credential | None:
    """The token with this digest, its owner and account.

    First whose it is, which never changes; then all that may change in one statement, so as it stood at one moment.
    """
    found = await connection.execute(_ACCOUNT_OF_TOKEN, (digest,), binary=True)
    known = await found.fetchone()
    if known is None:
        return None
    found = await connection.execute(_CREDENTIAL, (known[0], digest), binary=True)
    row = await found.fetchone()
    return credential_of((*known, *row)) if row else None


async def apply(connection: Connection, account_no: int, change: IdentityChange) -> None:
    """Make one change. Raises ``NameTaken`` or ``NotFound`` before anything is written."""
    match change:
        case PutUser(user=user):
            await _put_user(connection, account_no, user)
        case PutToken(token=token):
            await _put_token(connection, account_no, token)


async def _put_user(connection: Connection, account_no: int, user: User) -> None:
    user_id = bytes.fromhex(user.id)
    found = await connection.execute(
        'SELECT id FROM "user" WHERE account_no = %s AND email_folded = %s', (account_no, fold(user.email))
    )
    holder = await found.fetchone()
    if holder and holder[0] != user_id:
        raise NameTaken(f"the account has a user {user.email} already")
    await connection.execute(
        """
        INSERT INTO "user" VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
        ON CONFLICT (account_no, id) DO UPDATE SET
            email = excluded.email, email_folded = excluded.email_folded, name = excluded.name,
            role = excluded.role, active = excluded.active
        """,
        (account_no, user_id, user.email, fold(user.email), user.name, user.role.value, user.active, user.created_ms),
    )


async def _put_token(connection: Connection, account_no: int, token: Token) -> None:
    token_id, user_id = bytes.fromhex(token.id), bytes.fromhex(token.user_id)
    found = await connection.execute('SELECT 1 FROM "user" WHERE account_no = %s AND id = %s', (account_no, user_id))
    if await found.fetchone() is None:
        raise NotFound(f"the account has no user {token.user_id}")
    found = await connection.execute(
        "SELECT id FROM token WHERE account_no = %s AND user_id = %s AND name = %s AND expired_ms IS NULL",
        (account_no, user_id, token.name),
    )
    holder = await found.fetchone()
    if token.expired_ms is None and holder and holder[0] != token_id:
        raise NameTaken(f"the user has a token named {token.name!r} already; expire it first, or take another name")
    await connection.execute(
        """
        INSERT INTO token VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
        ON CONFLICT (account_no, id) DO UPDATE SET name = excluded.name, expired_ms = excluded.expired_ms
        """,
        (
            account_no, token_id, user_id, token.name, token.scope.value,
            token.digest, token.created_ms, token.expires_ms, token.expired_ms,
        ),
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO token_digest VALUES (%s, %s) ON CONFLICT (digest) DO NOTHING", (token.digest, account_no)
    )
