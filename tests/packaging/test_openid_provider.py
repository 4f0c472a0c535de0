"""Signing in at a provider that others wrote: `oidc-provider`, which is certified, with each kind of key."""

import json
import os
import re
import shutil
from html import unescape
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from joserfc.jwk import JWKRegistry

from harness.console import Visitor, console_over
from harness.inbox import OWNER
from tools.debian import MachineError, done, install
from whaul.stack.processes import answers, free_ports, program, wait_until

PARTS = Path(__file__).parent / "openid"
ROOT = {"WHAUL_ROOT_ACCESS_KEY_ID": "root", "WHAUL_ROOT_SECRET_ACCESS_KEY": "x" * 20}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("provider")
    shutil.copytree(PARTS, folder, dirs_exist_ok=True)
    try:
        if shutil.which("npm") is None:
            install("nodejs", "npm")
        done(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=folder)
    except MachineError as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"NOT TESTED: A PROVIDER THAT OTHERS WROTE. {missing}")
    return folder


@pytest.mark.parametrize(
    ("algorithm", "kind", "size"),
    [("RS256", "RSA", 2048), ("PS256", "RSA", 2048), ("ES256", "EC", "P-256"), ("EdDSA", "OKP", "Ed25519")],
)
def test_somebody_signs_in_at_a_provider_that_others_wrote(
    installed: Path, tmp_path: Path, algorithm: str, kind: str, size: str | int
) -> None:
    key = JWKRegistry.generate_key(kind, size, {"use": "sig", "alg": algorithm, "kid": "first"})
    with free_ports(1) as [port]:
        issuer = f"http://127.0.0.1:{port}"
        settings = {
            "WHAUL_OIDC_ISSUER": issuer,
            "WHAUL_OIDC_CLIENT_ID": "whaul",
            "WHAUL_OIDC_CLIENT_SECRET": "secret-of-the-client",
            "WHAUL_OIDC_SCOPES": "openid,email,groups",
            "WHAUL_OIDC_ACCESS_KEYS": "admins=root",
        }
        with console_over(tmp_path / "whaul.db", settings | ROOT) as running:
            back = f"{running.url}/sign-in/oidc/callback"
            keys = json.dumps({"keys": [key.as_dict(private=True)]})
            command = ["node", str(installed / "provider.mjs"), issuer, back, algorithm]
            log = tmp_path / "provider.log"
            with program(command, os.environ | {"KEYS": keys}, log) as process:
                ready = f"{issuer}/.well-known/openid-configuration"
                wait_until(lambda: answers(ready), process, "The provider", log, 60)
                visitor, there = running.visitor(), Visitor(port)
                place = visitor.get("/sign-in/oidc").headers["location"]
                while not place.startswith(back):
                    way = urlsplit(place)
                    reply = there.get(way.path + (f"?{way.query}" if way.query else ""))
                    assert reply.status == 303, reply.text
                    place = reply.headers["location"]
                reply = visitor.get(place.removeprefix(running.url))
                assert reply.status == 200, reply.text
                assert visitor.get("/messages").status == 200
                who = {"sessionContext": {"sourceIdentity": "ada@example.com (ada-0001)"}}
                [record] = running.audited(eventName="SignIn")
                assert record["userIdentity"].items() >= who.items()
                assert record["recipientAccountId"] == OWNER
                [place] = re.findall(rf'href="({issuer}[^"]+)"', unescape(visitor.post("/sign-out").text))
                asked = there.get(place.removeprefix(issuer))
                [sealed] = re.findall(r'name="xsrf" value="(\w+)"', asked.text)
                left = there.post("/session/end/confirm", {"xsrf": sealed, "logout": "yes"})
                assert left.headers["location"] == back
                assert visitor.get("/sign-in/oidc/callback").headers["location"] == "/sign-in"
