"""An SMTP server for tests: takes letters, and writes each as one line of JSON, the way Python's email package reads it.

Refuses recipients named unknown@ for good, and the first letter to recipients named later@.
Arguments: port, file to write to, "none", "starttls" or "tls", certificate, key, user and password (empty for none).
"""

import asyncio
import base64
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

PORT, OUT, TLS, CERTIFICATE, KEY, USER, PASSWORD = sys.argv[1:]


def described(part):
    """A part: its type, its Content-ID, and its content, or its parts."""
    found = {"type": part.get_content_type(), "cid": part["Content-ID"], "disposition": part.get_content_disposition()}
    if part.is_multipart():
        return found | {"parts": [described(inner) for inner in part.iter_parts()]}
    if part.get_content_maintype() == "text":
        return found | {"text": part.get_content()}
    return found | {"base64": base64.b64encode(part.get_content()).decode()}


class Handler:
    def __init__(self):
        self.turned_away = set()

    async def handle_RCPT(self, server, session, envelope, address, options):
        name = address.split("@")[0]
        if name == "unknown":
            return "550 5.1.1 no such user"
        if name == "later" and address not in self.turned_away:
            self.turned_away.add(address)
            return "451 4.7.1 come again"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        letter = email.message_from_bytes(envelope.original_content, policy=email.policy.default)
        defects = [str(defect) for part in letter.walk() for defect in part.defects]
        defects += [f"{name}: {defect}" for name, value in letter.items() for defect in value.defects]
        found = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "encrypted": session.ssl is not None or TLS == "tls",
            "login": session.authenticated,
            "headers": [[name, str(value)] for name, value in letter.items()],
            "defects": defects,
            "body": described(letter),
            "raw": envelope.original_content.decode("latin-1"),
        }
        with open(OUT, "a", encoding="utf-8") as out:
            out.write(json.dumps(found) + "\n")
        return "250 OK"


def authenticate(server, session, envelope, mechanism, login):
    is_right = (login.login, login.password) == (USER.encode(), PASSWORD.encode())
    # Not handled: the server itself is to answer.
    return AuthResult(success=is_right, handled=False)


async def main():
    handler = Handler()
    context = None
    if TLS != "none":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE, KEY)
    options = {"hostname": "localhost"}
    if TLS == "starttls":
        options |= {"tls_context": context, "require_starttls": True}
    if USER:
        options |= {"authenticator": authenticate, "auth_required": True, "auth_require_tls": TLS == "starttls"}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(handler, loop=loop, **options),
        "127.0.0.1",
        int(PORT),
        ssl=context if TLS == "tls" else None,
    )
    await server.serve_forever()


asyncio.run(main())
