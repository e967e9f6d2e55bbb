"""A server and the PostgreSQL database that it serves, where the two have to do with each other."""

from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql
from tests.acceptance.running import ACTIONS, Running, eventually, problem, tenant_of
from tests.building import action
from tests.postgres import guarded_database, own_server

from whodid.store.opening import bring_up

PASSWORD = "s3cr3t-password"


def set_password(url: str, password: str) -> None:
    """Give the owner of a database another password, and let nobody stay in by the old one."""
    owner = urlsplit(url).username or ""
    with psycopg.connect(own_server()[0], autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(owner), password))
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (owner,))


def outage(server: Running) -> str:
    """What is told to whoever asks whether the server is ready; nothing where it is."""
    answer = server.get("/ready")
    return "" if answer.status == 200 else str(problem(answer, 503)["detail"])


def test_a_password_that_holds_no_more_is_told_as_an_outage_and_never_repeated(tmp_path: Path) -> None:
    """503, and no word of it in answers or the log; as soon as it holds again, the server goes on by itself."""
    url = guarded_database(PASSWORD)
    bring_up(url)
    with Running(tmp_path, url) as server, tenant_of(server) as tenant:
        text = tenant.token()
        assert server.post(ACTIONS, text, action(type="before")).status == 201
        set_password(url, "another")
        refused = eventually("it is noticed", partial(outage, server))
        assert "password" not in refused
        set_password(url, PASSWORD)
        eventually("it is ready again", lambda: server.get("/ready").status == 200)
        eventually("it records", lambda: server.post(ACTIONS, text, action(type="after")).status == 201)
        assert len(server.get(f"{ACTIONS}?type=before", text).records) == 1
        assert tenant.check() == []
        assert server.stop() == 0
        said = server.log_path.read_text()
    assert "password authentication failed" in said
    assert PASSWORD not in said
