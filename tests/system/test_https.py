"""The site as in production: nginx with TLS in front of processes of the site, which ask two pods behind one address.

nginx has the configuration of docs/nginx.conf. Between tests two processes of the site answer, and both pods.
"""

import os
import signal
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.cookies import Morsel, SimpleCookie
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.cluster import Cluster, Program, cluster, status_of, wait_until
from tests.gateway import HOST, Gateway
from tests.product import free_ports
from tests.scoring_service import obedient
from tests.system.operating import QUESTIONS, make_keys

MODEL = "faq-javascript"
BAD_KEYS = 10  # a minute and network
THREADS = 8  # of a process of the site
UNSPEAKABLE = "an unspeakable question"


@dataclass
class Front:
    """What callers reach. sites: the processes of the site by their ports; those that answer now."""

    cluster: Cluster
    nginx: Gateway
    sites: dict[int, Program] = field(default_factory=dict)

    @property
    def ports(self) -> list[int]:
        return list(self.sites)

    def add(self) -> Program:
        """One more process of the site, which nginx does not know yet. Returns when it is ready."""
        [port] = free_ports(1)
        command = [sys.executable, "-m", "gunicorn", "--config", "webapp/gunicorn_conf.py", "webapp.wsgi"]
        own = {"WEB_BIND": f"127.0.0.1:{port}", "WEB_THREADS": str(THREADS)}
        site = Program(f"web-{port}", command, {**self.cluster.env, **own}, self.cluster.var / f"web-{port}.log")
        self.sites[port] = site
        site.start()
        wait_until(f"{site.name} is ready", lambda: status_of(f"http://127.0.0.1:{port}/health/ready") == 200)
        return site

    def client(self, **options: object) -> httpx.Client:
        return httpx.Client(base_url=self.nginx.url, verify=self.nginx.trust(), trust_env=False, timeout=30, **options)

    @property
    def logs(self) -> str:
        """Of all processes of the site that there have been."""
        return "".join(path.read_text() for path in self.cluster.var.glob("web-*.log"))


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("https")
    answers = {question: [["js-020", 0.9]] for question in (*QUESTIONS, UNSPEAKABLE)}
    obedient.write(folder, MODEL, parameters={"answers": answers})
    http_port, https_port = free_ports(2)
    nginx = Gateway(folder / "nginx", http_port=http_port, https_port=https_port)
    https = {"PUBLIC_URL": nginx.url, "TRUSTED_PROXY_COUNT": "1", "EMAIL_VERIFICATION": "optional"}
    with ExitStack() as stack:
        limits = {"RATE_LIMIT_BAD_KEYS": str(BAD_KEYS)}
        site = stack.enter_context(cluster(folder / "var", folder / MODEL, web=False, **https, **limits))
        front = Front(site, nginx)
        stack.callback(lambda: [each.end() for each in front.sites.values()])
        front.add()
        front.add()
        stack.callback(nginx.stop)
        nginx.start(front.ports)
        yield front


@pytest.fixture(scope="module")
def key(front: Front) -> str:
    return make_keys(front.cluster, 1, "faq:read", "batch")[0]


@pytest.fixture
def browser(front: Front) -> Iterator[httpx.Client]:
    """An administrator's, signed in."""
    with front.client() as http:
        sign_in_over_https(front, http)
        yield http


def sign_in_over_https(front: Front, http: httpx.Client) -> httpx.Response:
    http.get("/accounts/login/")
    return post_form(http, "/accounts/login/", login="admin@example.com", password=front.cluster.env["ADMIN_PASSWORD"])


def post_form(http: httpx.Client, path: str, origin: str | None = None, **fields: str) -> httpx.Response:
    """As a browser sends a form. origin: of the page it was on; None: the site's own."""
    origin = origin or str(http.base_url).rstrip("/")
    form = {**fields, "csrfmiddlewaretoken": http.cookies["__Host-csrf"]}
    return http.post(path, data=form, headers={"Origin": origin, "Referer": f"{origin}/"})


def assert_problem(answer: httpx.Response, status: int, slug: str) -> None:
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json"), answer.text
    problem = answer.json()
    assert (problem["type"], problem["status"]) == (f"/problems/{slug}", status)
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == answer.headers["X-Request-ID"]


# TLS ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("claimed", [{}, {"X-Forwarded-Proto": "https"}], ids=["plainly", "claiming to be https"])
def test_plain_http_leads_to_https_for_good_with_path_and_query(front, claimed):
    answer = httpx.get(f"{front.nginx.plain_url}/a/b?q=1&r=%20", headers=claimed)
    assert answer.status_code == 301
    assert answer.headers["Location"] == f"{front.nginx.url}/a/b?q=1&r=%20"


def test_plain_http_leads_to_no_other_site(front):
    answer = httpx.get(f"{front.nginx.plain_url}/", headers={"Host": "evil.example"})
    assert answer.headers["Location"] == f"{front.nginx.url}/"


def test_a_client_that_does_not_trust_our_authority_refuses_the_certificate(front):
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(front.nginx.url, verify=ssl.create_default_context())


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")  # that the old one is old is the point
@pytest.mark.parametrize(("version", "spoken"), [("TLSv1_1", False), ("TLSv1_2", True), ("TLSv1_3", True)])
def test_tls_is_spoken_from_1_2_on(front, version, spoken):
    context = front.nginx.trust()
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # else it is the client that refuses
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    with socket.create_connection((HOST, front.nginx.https_port), timeout=10) as plain:
        if spoken:
            with context.wrap_socket(plain, server_hostname=HOST) as secured:
                assert secured.version() == version.replace("_", ".")
        else:
            with pytest.raises(ssl.SSLError, match="ALERT"):
                context.wrap_socket(plain, server_hostname=HOST)


def test_another_name_gets_neither_a_certificate_nor_a_page(front):
    context = front.nginx.trust()
    with (
        socket.create_connection((HOST, front.nginx.https_port), timeout=10) as plain,
        pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"),
    ):
        context.wrap_socket(plain, server_hostname="evil.example")
    with front.client() as http:
        assert http.get("/", headers={"Host": "evil.example"}).status_code == 421


def test_every_answer_promises_https_and_tells_no_version_of_a_program(front):
    with front.client() as http:
        for path in ("/", "/accounts/login/", "/api/v1/me", "/nothing"):
            answer = http.get(path)
            assert answer.headers["Strict-Transport-Security"] == "max-age=31536000", path
            assert "/" not in answer.headers["Server"]
            assert "upgrade-insecure-requests" in answer.headers["Content-Security-Policy"]


# Cookies and forms ----------------------------------------------------------------------------------------------------


def cookies_of(answer: httpx.Response) -> dict[str, Morsel[str]]:
    jar: SimpleCookie = SimpleCookie()
    for line in answer.headers.get_list("Set-Cookie"):
        jar.load(line)
    return dict(jar)


def test_cookies_are_for_https_and_this_host_alone_and_out_of_reach_of_scripts(front):
    with front.client() as http:
        http.get("/accounts/login/")
        cookies = cookies_of(sign_in_over_https(front, http))
    assert set(cookies) >= {"__Host-session", "__Host-csrf"}
    for cookie in cookies.values():
        assert cookie["secure"], cookie
        assert cookie["httponly"], cookie
        assert (cookie["samesite"], cookie["path"], cookie["domain"]) == ("Lax", "/", "")


def test_a_form_of_another_site_is_refused(front, browser):
    assert post_form(browser, "/account/", origin="https://evil.example", name="Mallory").status_code == 403
    assert post_form(browser, "/account/", name="Ada").status_code == 302


# What a client claims about itself ------------------------------------------------------------------------------------


def test_a_claim_to_be_plain_http_makes_no_loop(front):
    with front.client() as http:
        assert http.get("/accounts/login/", headers={"X-Forwarded-Proto": "http"}).status_code == 200


def test_a_forged_host_leads_nobody_away(front, browser):
    forged = {"X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
    answer = browser.get("/keys", headers=forged)
    assert answer.headers["Location"] == "/keys/"
    with front.client() as http:
        http.get("/accounts/password/reset/", headers=forged)
        form = {"email": "admin@example.com", "csrfmiddlewaretoken": http.cookies["__Host-csrf"]}
        own = {"Referer": f"{front.nginx.url}/", **forged}
        assert http.post("/accounts/password/reset/", data=form, headers=own).status_code == 302
    assert f"{front.nginx.url}/accounts/password/reset/" in front.logs  # without EMAIL_URL mails are printed there
    assert "evil.example/accounts" not in front.logs


def test_a_forged_address_is_not_believed(front):
    with front.client() as http:
        for number in range(2 * BAD_KEYS + 1):  # each of the two processes counts alone
            claimed = {"X-Forwarded-For": f"198.51.100.{number}", "X-Real-IP": f"198.51.100.{number}"}
            answer = http.get("/api/v1/me", headers={"Authorization": "Bearer sp_a_b", **claimed})
    assert_problem(answer, 429, "rate-limited")
    assert '"ip": "127.0.0.1"' in front.logs
    assert "198.51.100" not in front.logs


def test_a_request_past_the_gateway_is_sent_to_https(front):
    answer = httpx.get(f"http://127.0.0.1:{front.ports[0]}/accounts/login/", headers={"Host": HOST})
    assert answer.status_code == 301
    assert answer.headers["Location"].startswith(f"https://{HOST}")


# Bodies ---------------------------------------------------------------------------------------------------------------

MB = 1_000_000


@pytest.mark.parametrize("size", [1.5, 40], ids=["refused by the site", "refused by the gateway"])
def test_a_body_that_is_too_large_gets_a_problem(front, key, size):
    with front.client(headers={"Authorization": f"Bearer {key}"}) as http:
        body = b'{"question": "' + b"x" * int(size * MB) + b'"}'
        answer = http.post("/api/v1/faq/match", content=body, headers={"Content-Type": "application/json"})
    assert_problem(answer, 413, "too-large")


def test_a_page_that_is_sent_too_much_says_so_as_a_page(front, browser):
    answer = browser.post("/account/", content=b"x" * 3 * MB)
    assert answer.status_code == 413
    assert answer.headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize("key", [{}, {"Authorization": "Bearer sp_a_b"}], ids=["nobody", "a wrong key"])
@pytest.mark.parametrize("path", ["/api/v1/batches", "/api/v1/images/classify"])
def test_who_may_not_upload_is_told_so_and_takes_nothing_from_the_others(front, path, key):
    """The site does not read what is sent, and yet the gateway sees no failure."""
    refused = {401, 429} if key else {401}  # there may have been too many wrong keys by now
    for _ in range(5):
        with front.client() as http:
            answer = http.post(path, content=b"x" * 40 * MB, headers={"Content-Type": "text/csv", **key})
            assert answer.status_code in refused, answer.text
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert http.get("/accounts/login/").status_code == 200
    assert not list((front.cluster.var / "batches").glob("incoming/*"))


def test_a_large_upload_that_is_allowed_arrives_whole(front, key):
    body = b"question\n" + b"how do I copy an array\n" * 200_000
    with front.client() as http:
        answer = upload(http, key, body, len(body))
        assert answer.status_code == 202, answer.text


def upload(http: httpx.Client, key: str, body: bytes | Iterator[bytes], size: int) -> httpx.Response:
    """Sends a table of questions as a batch. size: bytes in all."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "text/csv", "Content-Length": str(size)}
    return http.post("/api/v1/batches", content=body, headers=headers)


def test_slow_clients_do_not_keep_others_out(front):
    head = f"POST /accounts/login/ HTTP/1.1\r\nHost: {HOST}:{front.nginx.https_port}\r\nContent-Length: 1000\r\n"
    with ExitStack() as stack, front.client() as http:
        for _ in range(2 * THREADS):  # as many as all threads of both processes
            plain = stack.enter_context(socket.create_connection((HOST, front.nginx.https_port), timeout=10))
            slow = stack.enter_context(front.nginx.trust().wrap_socket(plain, server_hostname=HOST))
            slow.sendall(f"{head}Content-Type: application/x-www-form-urlencoded\r\n\r\nlogin=".encode())
        assert [http.get("/accounts/login/", timeout=10).status_code for _ in range(4)] == [200] * 4


# Processes that end ---------------------------------------------------------------------------------------------------


def ask(http: httpx.Client, key: str, question: str) -> httpx.Response:
    return http.post("/api/v1/faq/match", json={"question": question}, headers={"Authorization": f"Bearer {key}"})


def kill(front: Front, port: int) -> None:
    """Ends the process of the site, its children too, as a lost machine does."""
    site = front.sites.pop(port)
    assert site.process
    master = site.process.pid
    workers = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    site.end(signal.SIGKILL)
    for pid in workers:
        os.kill(int(pid), signal.SIGKILL)


def test_a_killed_process_of_the_site_costs_nobody_a_request(front, key):
    kill(front, front.ports[0])
    with front.client() as http:
        codes = [http.get("/accounts/login/").status_code for _ in range(10)]
        codes += [ask(http, key, QUESTIONS[0]).status_code for _ in range(10)]
    front.add()
    front.nginx.point_at(front.ports)
    assert codes == [200] * 20


def test_a_site_that_is_gone_is_a_problem_at_once_and_comes_back(front, key):
    for port in front.ports:
        kill(front, port)
    with front.client() as http:
        answer = ask(http, key, QUESTIONS[0])
        assert_problem(answer, 503, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        page = http.get("/")
        assert (page.status_code, page.headers["Content-Type"]) == (503, "text/html")
    front.add()
    front.add()
    front.nginx.point_at(front.ports)
    with front.client() as http:
        answer = ask(http, key, QUESTIONS[0])
        assert answer.status_code == 200, answer.text


# What is written down -------------------------------------------------------------------------------------------------


def test_neither_questions_nor_mailed_links_are_in_the_logs(front, browser):
    assert browser.get("/faq/", params={"q": UNSPEAKABLE}).status_code == 200
    browser.get("/accounts/password/reset/key/1-unspeakable-key/")
    browser.get("/accounts/confirm-email/unspeakable:key/")
    browser.get("/faq/", params={"q": "unspeakable" * 2000})  # longer than a request line may be
    assert "/accounts/password/reset/key/[hidden]" in front.nginx.logs
    assert "unspeakable" not in front.nginx.logs
    assert "unspeakable" not in front.logs
