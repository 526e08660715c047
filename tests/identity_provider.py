"""A small OpenID Connect provider on this machine: discovery, authorize, token with a signed id_token, and its keys.

It says yes at once to whoever comes to its sign-in page, as `person`. What a test wants it to do wrong is in `faults`.
"""

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

CLIENT_ID, CLIENT_SECRET = "scorepod-at-example", "s3cret of the client + more"


def new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class IdentityProvider:
    """person: claims of whoever signs in. asked: the queries that its sign-in page got, newest last."""

    issuer: str = ""
    person: dict[str, Any] = field(default_factory=dict)
    faults: set[str] = field(default_factory=set)
    asked: list[dict[str, str]] = field(default_factory=list)
    key: rsa.RSAPrivateKey = field(default_factory=new_key)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def configuration(self) -> dict[str, Any]:
        return {
            "issuer": "https://another.example" if "another issuer" in self.faults else self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def keys(self) -> dict[str, Any]:
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        return {"keys": [{**public, "kid": "one", "use": "sig", "alg": "RS256"}]}

    def authorize(self, query: dict[str, str]) -> str:
        """The address to come back to."""
        self.asked.append(query)
        back = {"state": query["state"]}
        if "cancelled" in self.faults:
            return f"{query['redirect_uri']}?{urlencode({**back, 'error': 'access_denied'})}"
        code = secrets.token_urlsafe(16)
        self.codes[code] = query
        return f"{query['redirect_uri']}?{urlencode({**back, 'code': code})}"

    def token(self, form: dict[str, str]) -> dict[str, Any] | None:
        """The tokens for a code; None when something in the question is wrong. A code is good for once."""
        query = self.codes.pop(form.get("code", ""), None)
        verifier = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if (
            query is None
            or (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET)
            or form.get("redirect_uri") != query["redirect_uri"]
            or base64.urlsafe_b64encode(verifier).rstrip(b"=").decode() != query["code_challenge"]
            or query["code_challenge_method"] != "S256"
        ):
            return None
        tokens = {"access_token": secrets.token_urlsafe(16), "token_type": "Bearer", "expires_in": 3600}
        return tokens if "no id_token" in self.faults else {**tokens, "id_token": self.id_token()}

    def id_token(self) -> str:
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": "another-client" if "another audience" in self.faults else CLIENT_ID,
            "iat": now - 7200,
            "exp": now - 60 if "expired" in self.faults else now + 3600,
            **self.person,
        }
        if "issued by another" in self.faults:
            claims["iss"] = "https://another.example"
        if "unsigned" in self.faults:
            return jwt.encode(claims, None, algorithm="none", headers={"kid": "one"})
        if "nonsense" in self.faults:
            return "no token at all"
        key = new_key() if "signed by another" in self.faults else self.key
        kid = {} if "without the key's name" in self.faults else {"kid": "one"}
        return jwt.encode(claims, key, algorithm="RS256", headers=kid)


@contextmanager
def identity_provider() -> Iterator[IdentityProvider]:
    """A running one, for the client that the constants above name."""
    provider = IdentityProvider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            if url.path.endswith("/.well-known/openid-configuration"):
                self.answer(provider.configuration())
            elif url.path.endswith("/keys"):
                self.answer(provider.keys())
            elif url.path.endswith("/authorize"):
                self.send_response(302)
                self.send_header("Location", provider.authorize(query))
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                self.answer({}, 404)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            tokens = provider.token({name: values[0] for name, values in parse_qs(body).items()})
            self.answer(tokens or {"error": "invalid_grant"}, 200 if tokens else 400)

        def answer(self, value: dict[str, Any], status: int = 200) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_line: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider.issuer = f"http://127.0.0.1:{server.server_port}/tenant/v2.0"
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
