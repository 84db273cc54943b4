"""Who may decode: static tokens, tokens of an OIDC issuer, rights per namespace; and every way to be refused."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from codec.server.access import Caller, Right, Rule
from codec.server.allowances import Bounds
from codec.server.fetching import fetch_document
from codec.server.identity import Identities, StaticToken
from codec.server.issuers import RETRY_S, USABLE_S, IssuerFailed, Issuers, is_safe_url, read_jwks
from codec.server.jwt_check import Issuer, TokenRefused
from codec.server.protocol import Answer, Refusal, Request
from tests.codec.server.oidc import AUDIENCE, Oidc, altered, oidc, spliced, unsigned
from tests.codec.server.serving import BILLS, ORDERS, PLAIN, Served

SECRET_TOKEN = "s3cret-token-of-twenty-characters"
BOTH = frozenset(Right)


@pytest.fixture
async def issuer() -> AsyncIterator[Oidc]:
    async with oidc() as one:
        yield one


class Clock:
    now_s = 50_000.0


Make = Callable[..., Served]


@pytest.fixture
def make(tmp_path: Path, issuer: Oidc) -> Make:
    def made(
        *rules: Rule, wall: Callable[[], float] = time.time, bounds: Bounds | None = None, **more: Any
    ) -> Served:
        believed = Issuer(url=issuer.url, audience=frozenset({AUDIENCE}), **more)
        issuers = Issuers([believed], fetch_document, monotonic=lambda: Clock.now_s, wall=wall)
        tokens = [StaticToken.of("ci", SECRET_TOKEN)]
        return Served(
            tmp_path, rules=rules, identities=Identities(tokens=tokens, issuers=issuers), bounds=bounds
        )

    Clock.now_s = 50_000.0
    return made


async def test_of_a_wrong_token_it_is_logged_that_it_is_none_of_those_that_are_set(issuer: Oidc) -> None:
    believed = Issuer(url=issuer.url, audience=frozenset({AUDIENCE}))
    issuers = Issuers([believed], fetch_document, monotonic=lambda: Clock.now_s, wall=time.time)
    identities = Identities(tokens=[StaticToken.of("ci", SECRET_TOKEN)], issuers=issuers)

    async def no_body(_: int) -> bytes:
        return b""

    request = Request(
        method="POST",
        path="/",
        headers={"authorization": "Bearer wrong"},
        remote="1.1.1.1",
        read_body=no_body,
    )
    with pytest.raises(Refusal) as caught:
        await identities.prove(request)
    assert caught.value.why == "none of the tokens that are set, and no JSON Web Token"


async def ask(
    served: Served, token: str, *, namespace: str = ORDERS, to: str = "decode", extras: str | None = None
) -> Answer:
    headers = {"Authorization": f"Bearer {token}"} | ({"Authorization-Extras": extras} if extras else {})
    return await served.ask(f"/{namespace}/{to}", [PLAIN], headers=headers)


def rule(may: frozenset[Right] = BOTH, namespaces: tuple[str, ...] = (ORDERS,), **who: Any) -> Rule:
    return Rule(
        namespaces=frozenset(namespaces),
        rights=may,
        **{name: frozenset(value) if isinstance(value, list) else value for name, value in who.items()},
    )


ADA = rule(emails=["ada@acme.example"])


def claims_of_ada(**more: Any) -> dict[str, Any]:
    return {"email": "Ada@acme.example", "email_verified": True} | more


async def test_a_person_is_known_by_a_verified_e_mail(make: Make, issuer: Oidc) -> None:
    served = make(ADA)
    assert (await ask(served, issuer.token(**claims_of_ada()))).status == 200
    assert served.sink.lines[-1]["who"] == {
        "kind": "jwt",
        "subject": "user-1",
        "issuer": issuer.url,
        "email": "Ada@acme.example",
    }
    for other in (
        claims_of_ada(email_verified=False),
        claims_of_ada(email="eve@acme.example"),
        claims_of_ada(email="ada@acme.example@evil.example"),
        claims_of_ada(email=["ada@acme.example"]),
        {"email": "ada@acme.example"},
        {},
    ):
        assert (await ask(served, issuer.token(**other))).status == 403
    lenient = make(ADA, email_verified=False)
    assert (await ask(lenient, issuer.token(email="ada@acme.example"))).status == 200


@pytest.mark.parametrize(
    ("given", "claims"),
    [
        (rule(domains=["acme.example"]), claims_of_ada()),
        (rule(subjects=["user-1"]), {}),
        (rule(groups=["on-call"]), {"groups": ["staff", "on-call"]}),
        (rule(groups=["on-call"]), {"groups": "on-call"}),
        (rule(everyone=True), {}),
        (rule(namespaces=("*",), subjects=["user-1"]), {}),
    ],
)
async def test_who_rules_can_name(make: Make, issuer: Oidc, given: Rule, claims: dict[str, Any]) -> None:
    assert (await ask(make(given), issuer.token(**claims))).status == 200


async def test_rights_are_per_namespace_and_kind(make: Make, issuer: Oidc) -> None:
    served = make(rule(frozenset({Right.DECODE}), subjects=["user-1"]))
    token = issuer.token()
    assert (await ask(served, token)).status == 200
    refused = [
        await ask(served, token, to="encode"),
        await ask(served, token, namespace=BILLS),
        await served.ask(
            "/decode", [PLAIN], headers={"X-Namespace": "no.such", "Authorization": f"Bearer {token}"}
        ),
    ]
    assert [one.status for one in refused] == [403] * 3
    # A namespace of others and one that is nobody's look alike, wherever it is named.
    assert refused[1].body == refused[2].body
    assert (await ask(served, token, namespace="no.such")).body == refused[1].body
    for in_path in (BILLS, "no.such"):
        headers = {"X-Namespace": ORDERS, "Authorization": f"Bearer {token}"}
        assert (await served.ask(f"/{in_path}/decode", [PLAIN], headers=headers)).status == 200
        headers["X-Namespace"] = "not.mine"
        answer = await served.ask(f"/{in_path}/decode", [PLAIN], headers=headers)
        assert (answer.status, answer.body) == (403, refused[1].body)
    assert (await ask(make(), token)).status == 403
    elsewhere = make(rule(subjects=["user-1"], issuer="https://other.example"))
    assert (await ask(elsewhere, token)).status == 403


async def test_nothing_of_a_body_is_read_of_who_may_not(make: Make, issuer: Oidc) -> None:
    served = make(ADA)
    for token in (issuer.token(), "x"):
        assert (await ask(served, token)).status in (401, 403)
        assert "bytes_in" not in served.sink.lines[-1] or served.sink.lines[-1]["bytes_in"] == 0


def public_pem(key: Any) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


async def test_tokens_that_prove_nothing(make: Make, issuer: Oidc) -> None:
    served = make(rule(everyone=True))
    good = issuer.token()
    now = int(time.time())
    stranger = ec.generate_private_key(ec.SECP256R1())
    bad = {
        "expired": issuer.token(exp=now - 61),
        "not yet": issuer.token(nbf=now + 120),
        "from tomorrow": issuer.token(iat=now + 86_400),
        "without end": issuer.token(drop="exp"),
        "end is a text": issuer.token(exp="9999999999"),
        "without subject": issuer.token(drop="sub"),
        "for others": issuer.token(aud="other"),
        "for nobody": issuer.token(drop="aud"),
        "other issuer": issuer.token(iss="https://evil.example"),
        "other key": issuer.token(key=stranger),
        "unknown key id": issuer.token(key=stranger, kid="unknown"),
        "altered": altered(good),
        "other body": spliced(good, 1, issuer.token(sub="admin")),
        "other head": spliced(good, 0, issuer.token(kid="unknown", key=stranger)),
        "unsigned": unsigned({"iss": issuer.url, "aud": AUDIENCE, "sub": "user-1", "exp": now + 60}),
        "cut": good[:-20],
        "nothing": "",
        "dots": "..",
        "garbage": "a.b.c",
        "long": good + "A" * 20_000,
        "symmetric": issuer.token(key=b"0123456789abcdef0123456789abcdef", algorithm="HS256"),
    }
    for name, token in bad.items():
        answer = await ask(served, token)
        assert answer.status == 401, name
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.body == (await ask(served, "garbage")).body, name
        served.now_s += 10
    for header in ("", "Bearer", "Bearer ", f"Basic {good}", good):
        assert (await served.ask(f"/{ORDERS}/decode", [], headers={"Authorization": header})).status == 401
        served.now_s += 10
    for scheme in ("Bearer", "bearer", "BEARER"):
        headers = {"Authorization": f"{scheme} {good}"}
        assert (await served.ask(f"/{ORDERS}/decode", [], headers=headers)).status == 200


async def test_clocks_may_differ_a_little(make: Make, issuer: Oidc) -> None:
    served = make(rule(everyone=True))
    now = int(time.time())
    assert (await ask(served, issuer.token(exp=now - 30))).status == 200
    assert (await ask(served, issuer.token(nbf=now + 30))).status == 200


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "EdDSA", "ES256"])
async def test_algorithms(make: Make, issuer: Oidc, algorithm: str) -> None:
    key: Any = {
        "RS256": lambda: rsa.generate_private_key(65537, 2048),
        "PS256": lambda: rsa.generate_private_key(65537, 2048),
        "EdDSA": ed25519.Ed25519PrivateKey.generate,
        "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    }[algorithm]()
    issuer.add("other", key)
    token = issuer.token(kid="other", algorithm=algorithm)
    assert (await ask(make(rule(everyone=True), algorithms=(algorithm,)), token)).status == 200
    others = tuple({"RS384", "ES384"} - {algorithm})
    assert (await ask(make(rule(everyone=True), algorithms=others), token)).status == 401


@pytest.mark.filterwarnings("ignore:The RSA key is 1024")
async def test_a_weak_or_other_purpose_key_counts_for_nothing(make: Make, issuer: Oidc) -> None:
    issuer.add("weak", rsa.generate_private_key(65537, 1024))  # noqa: S505 - that is the point
    issuer.add("encrypts", ec.generate_private_key(ec.SECP256R1()), use="enc")
    served = make(rule(everyone=True))
    assert (await ask(served, issuer.token(kid="weak", algorithm="RS256"))).status == 401
    assert (await ask(served, issuer.token(kid="encrypts"))).status == 401


async def test_the_id_token_beside_the_access_token_gives_the_e_mail(make: Make, issuer: Oidc) -> None:
    served = make(ADA, id_token_audience=frozenset({"web-ui"}))
    access = issuer.token()
    assert (await ask(served, access)).status == 403
    assert (await ask(served, access, extras=issuer.token(aud="web-ui", **claims_of_ada()))).status == 200
    for extras in (
        issuer.token(aud="web-ui", **claims_of_ada(sub="user-2")),
        issuer.token(aud="other", **claims_of_ada()),
        issuer.token(aud="web-ui", **claims_of_ada(iss="https://evil.example")),
        "garbage",
    ):
        assert (await ask(served, access, extras=extras)).status == 401
    # An ID token alone is for the web UI, not for us.
    assert (await ask(served, issuer.token(aud="web-ui", **claims_of_ada()))).status == 401


async def test_keys_are_asked_for_once_and_again_when_they_rotate(make: Make, issuer: Oidc) -> None:
    served = make(rule(everyone=True))
    for _ in range(5):
        assert (await ask(served, issuer.token())).status == 200
    assert issuer.asked == 1
    issuer.add("second", ec.generate_private_key(ec.SECP256R1()))
    # Whoever makes up key ids can't make us ask more often than so.
    assert (await ask(served, issuer.token(kid="second"))).status == 401
    assert issuer.asked == 1
    Clock.now_s += RETRY_S + 1
    assert (await ask(served, issuer.token(kid="second"))).status == 200
    assert issuer.asked == 2
    # A key that is no longer published ends within minutes.
    issuer.published = [one for one in issuer.published if one["kid"] != "first"]
    Clock.now_s += 700
    assert (await ask(served, issuer.token())).status == 401


async def test_an_issuer_that_is_down(make: Make, issuer: Oidc) -> None:
    served = make(rule(everyone=True))
    issuer.fails = True
    answer = await ask(served, issuer.token())
    assert answer.status == 503
    assert "retry-after" in answer.headers
    issuer.fails = False
    assert (await ask(served, issuer.token())).status == 503
    Clock.now_s += RETRY_S + 1
    assert (await ask(served, issuer.token())).status == 200
    issuer.fails = True
    Clock.now_s += 1_000
    assert (await ask(served, issuer.token())).status == 200
    Clock.now_s += USABLE_S
    assert (await ask(served, issuer.token())).status == 503


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://other.example", "jwks_uri": "http://127.0.0.1:1/keys"},
        {"jwks_uri": "http://127.0.0.1:1/keys"},
        {"issuer": "URL"},
        {"issuer": "URL", "jwks_uri": "http://evil.example/keys"},
        {"issuer": "URL", "jwks_uri": "file:///etc/passwd"},
    ],
)
async def test_discovery_that_is_not_believed(make: Make, issuer: Oidc, document: dict[str, Any]) -> None:
    issuer.discovery = {key: value.replace("URL", issuer.url) for key, value in document.items()}
    assert (await ask(make(rule(everyone=True)), issuer.token())).status == 503


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"keys": 1}', b'{"keys": [1, {}, {"kty": "RSA"}]}', b"x" * 600_000]
)
def test_documents_that_hold_no_keys(content: bytes) -> None:
    with pytest.raises(IssuerFailed):
        read_jwks(content)


def test_keys_come_by_tls_or_from_here() -> None:
    assert is_safe_url("https://login.example/keys")
    assert is_safe_url("http://127.0.0.1:8080/keys")
    for url in (
        "http://login.example",
        "ftp://127.0.0.1",
        "https://",
        "",
        "http://127.0.0.1.evil.example",
        "http://[",
    ):
        assert not is_safe_url(url)


async def test_static_tokens(make: Make, issuer: Oidc) -> None:
    served = make(rule(frozenset({Right.DECODE}), tokens=["ci"]))
    assert (await ask(served, SECRET_TOKEN)).status == 200
    assert served.sink.lines[-1]["who"] == {"kind": "token", "subject": "ci"}
    assert (await ask(served, SECRET_TOKEN, to="encode")).status == 403
    for wrong in (SECRET_TOKEN[:-1], SECRET_TOKEN + "x", SECRET_TOKEN.upper()):
        assert (await ask(served, wrong)).status == 401
    # What an issuer calls somebody can't pass for a token's name, nor the reverse.
    assert (await ask(served, issuer.token(sub="ci"))).status == 403
    assert (await ask(make(rule(subjects=["ci"])), SECRET_TOKEN)).status == 403
    assert SECRET_TOKEN not in repr(StaticToken.of("ci", SECRET_TOKEN))


@pytest.mark.parametrize("secret", ["short", "with a space in the middle of it", "ümlaut" * 5, ""])
def test_tokens_that_are_no_good(secret: str) -> None:
    with pytest.raises(ValueError, match="20 or more"):
        StaticToken.of("ci", secret)


async def test_who_guesses_is_slowed_down(make: Make, issuer: Oidc) -> None:
    served = make(rule(everyone=True))
    statuses = [(await ask(served, f"guess-{number}")).status for number in range(60)]
    assert statuses[:50] == [401] * 50
    assert set(statuses[50:]) == {429}
    # Who has a good token at the same address (a proxy's) is not locked out.
    assert (await ask(served, issuer.token())).status == 200
    elsewhere = await served.ask(
        f"/{ORDERS}/decode", [], headers={"Authorization": "Bearer guess"}, remote="192.0.2.8"
    )
    assert elsewhere.status == 401
    served.now_s += 1
    assert (await ask(served, "guess")).status == 401


async def test_the_service_is_not_asked_about_keys_of_who_guesses(tmp_path: Path) -> None:
    class Asked:
        count = 0

        def may_be(self, token: str) -> bool:
            return token.startswith("key")

        async def prove(self, token: str) -> Caller:
            self.count += 1
            raise TokenRefused("no such key")

    asked = Asked()
    served = Served(tmp_path, identities=Identities(api_keys=asked))
    statuses = [(await ask(served, f"key-{number}")).status for number in range(60)]
    assert (statuses.count(401), statuses.count(429)) == (50, 10)
    assert asked.count == 50


async def test_rate_per_caller(make: Make, issuer: Oidc) -> None:
    served = make(rule(everyone=True), bounds=Bounds(requests_per_second_max=2, requests_burst_max=3))
    ada, bob = issuer.token(sub="ada"), issuer.token(sub="bob")
    assert [(await ask(served, ada)).status for _ in range(4)] == [200, 200, 200, 429]
    answer = await ask(served, ada)
    assert int(answer.headers["retry-after"]) == 1
    assert (await ask(served, bob)).status == 200
    served.now_s += 0.5
    assert [(await ask(served, ada)).status for _ in range(2)] == [200, 429]
