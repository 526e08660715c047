"""nginx in front of processes of the site, with the configuration that docs/nginx.conf recommends.

Of it only the name, the certificate, the ports, the processes and the places of logs are others; each must be found.
"""

import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.nginx import Nginx
from tests.product import ROOT

HOST = "localhost"
MAIN = """
worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/start.log;
events {{ worker_connections 512; }}
http {{
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  {site}
}}
"""


@dataclass
class Gateway(Nginx):
    """nginx on two ports of this machine; certificates lie in its folder, too."""

    http_port: int = field(kw_only=True)
    https_port: int = field(kw_only=True)

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.https_port}"

    @property
    def plain_url(self) -> str:
        return f"http://{HOST}:{self.http_port}"

    def trust(self, **versions: ssl.TLSVersion) -> ssl.SSLContext:
        """What a client needs that trusts our authority. versions: minimum_version and maximum_version, if any."""
        context = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        for name, version in versions.items():
            setattr(context, name, version)
        return context

    def start(self, ports: Sequence[int]) -> None:
        """ports: where processes of the site listen, on this machine."""
        self.folder.mkdir(exist_ok=True)
        make_certificates(self.folder)
        super().start(ports)

    def configuration(self, ports: Sequence[int]) -> str:
        servers = "\n".join(f"server 127.0.0.1:{port} max_fails=0;" for port in ports)
        text = (ROOT / "docs" / "nginx.conf").read_text()
        for found, put in (
            (r"listen \[::\]:.*", ""),
            (r"listen 80\b", f"listen 127.0.0.1:{self.http_port}"),
            (r"listen 443\b", f"listen 127.0.0.1:{self.https_port}"),
            (r"https://scoring\.example\.org\$", f"{self.url}$"),
            (r"scoring\.example\.org", HOST),
            (r"/etc/ssl/scorepod/", f"{self.folder}/"),
            (r"/var/log/nginx/", f"{self.folder}/"),
            (r"server 127\.0\.0\.1:8000 .*", servers),
        ):
            text, count = re.subn(found, put, text)
            assert count, f"docs/nginx.conf has no {found}"
        return MAIN.format(folder=self.folder, site=text)


def make_certificates(folder: Path) -> None:
    """Writes ca.crt, an authority of our own, and tls.crt with tls.key: the certificate that it has given HOST."""
    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Authority of the tests")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)

    def certificate(name: x509.Name, of: ec.EllipticCurvePrivateKey, *extensions: x509.ExtensionType) -> bytes:
        builder = x509.CertificateBuilder(issuer, name, of.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    names = x509.SubjectAlternativeName([x509.DNSName(HOST), x509.IPAddress(ip_address("127.0.0.1"))])
    usage = x509.KeyUsage(
        *(False, False, False, False, False, True, True, False, False)  # it signs certificates and lists
    )
    signer = x509.SubjectKeyIdentifier.from_public_key(authority.public_key())
    by = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    root = (x509.BasicConstraints(ca=True, path_length=0), usage, signer)
    (folder / "ca.crt").write_bytes(certificate(issuer, authority, *root))
    (folder / "tls.crt").write_bytes(certificate(subject, key, names, by))
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "tls.key").write_bytes(key.private_bytes(*plain))
