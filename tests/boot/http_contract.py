#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the API's HTTP is, byte by byte. TAP output; the monitor is $MAYFLY."""
import json
import shutil
import subprocess
import sys
import time

from contract import Monitor, main, request_bytes, same, test

DROPPED = "\nAll previous unanswered requests will be dropped."
HEAD = b"Server: Firecracker API\r\nConnection: keep-alive\r\n"
VERSION = b'{"firecracker_version":"1.16.1"}'
GOT_VERSION = (b"HTTP/1.1 200 \r\n" + HEAD + b"Content-Type: "
               b"application/json\r\nContent-Length: %d\r\n\r\n" %
               len(VERSION) + VERSION)
NO_CONTENT = b"HTTP/1.1 204 \r\n" + HEAD + b"\r\n"
GET_VERSION = b"GET /version HTTP/1.1\r\n\r\n"
FILES = {"disk": bytes(4096)}


def error(body):
    """A reply with 400 and this body."""
    return (b"HTTP/1.1 400 \r\n" + HEAD + b"Content-Type: application/json"
            b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def bad(text):
    """The reply to a request that is no HTTP as we know it."""
    return error(('{ "error": "' + text + DROPPED + '" }').encode())


def fault(text):
    """The reply to a request that cannot be carried out."""
    return error(json.dumps({"fault_message": text},
                            separators=(",", ":")).encode())


def answers(m, sent, want, closed=False):
    """One connection: bytes sent, bytes that come back, and what then."""
    with m.connect() as c:
        c.send(sent)
        data, end = c.rest(len(want) + closed)
    about = repr(sent)[:200]
    same(data, want, about)
    same(end, closed, about + " closed")


@test("heads of replies, byte by byte; keep-alive; pipelining")
def _():
    put = request_bytes("PUT", "/machine-config",
                        {"vcpu_count": 1, "mem_size_mib": 8})
    with Monitor() as m:
        answers(m, GET_VERSION, GOT_VERSION)
        answers(m, put, NO_CONTENT)
        answers(m, GET_VERSION + put + GET_VERSION,
                GOT_VERSION + NO_CONTENT + GOT_VERSION)
        answers(m, b"GET /version HTTP/1.0\r\n\r\n", GOT_VERSION)
        answers(m, b"GET http://host/version HTTP/1.1\r\n\r\n", GOT_VERSION)
        answers(m, b"GET //version HTTP/1.1\r\nX: y\r\n\r\n", GOT_VERSION)
        answers(m, b"PUT /machine-config HTTP/1.1\r\n\r\n",
                fault("Empty PUT request."))
        for sent in (put, b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n"):
            with m.connect() as c:
                for i in range(len(sent)):
                    c.send(sent[i:i + 1])
                same(c.reply().code in (200, 204), True, "byte by byte")


@test("a target without a leading slash is the root")
def _():
    with Monitor("--id", "it") as m:
        for target in ("version", "*", "https://h/version", "http://h", "/"):
            reply = m.request("GET", target)
            same(json.loads(reply.body)["id"], "it", target)


@test("errors of the request line keep the connection, and drop a read")
def _():
    method = bad("Invalid HTTP Method: Unsupported HTTP method.")
    with Monitor() as m:
        for word in (b"POST", b"get", b"HEAD", b"OPTIONS", b"X"):
            answers(m, word + b" / HTTP/1.1\r\n\r\n", method)
        answers(m, b"GET / HTTP/2.0\r\n\r\n",
                bad("Invalid HTTP Version: Unsupported HTTP version."))
        answers(m, b"GET  HTTP/1.1\r\n\r\n",
                bad("Invalid URI: Empty URI not allowed."))
        answers(m, b"\r\n", bad("Invalid request."))
        answers(m, GET_VERSION + b"FOO / HTTP/1.1\r\n\r\n" + GET_VERSION,
                method)
        with m.connect() as c:
            c.send(b"FOO / HTTP/1.1\r\n\r\n")
            same(c.reply().code, 400)
            same(c.request("GET", "/version").body, VERSION)
        line = b"GET /%b HTTP/1.1\r\n"
        answers(m, line % (b"v" * (1024 - 16)) + b"\r\n",
                fault("Invalid request method and/or path: GET " +
                        "v" * (1024 - 16) + "."))
        with m.connect() as c:
            c.send(line % (b"v" * (1025 - 16)) + b"\r\n")
            want = bad("Invalid request.")
            same(c.rest(len(want) + 1), (want, True))


@test("a header error is answered once and ends the connection")
def _():
    head = b"GET /version HTTP/1.1\r\n"
    why = "Invalid header. Reason: "
    with Monitor() as m:
        for line, text in (
                (b"Content-Length: -1", "Invalid value. Key:Content-Length; "
                 "Value: -1"),
                (b"Content-Length: 4294967296", "Invalid value. "
                 "Key:Content-Length; Value: 4294967296"),
                (b"Accept-Encoding: identity;q=0", "Invalid value. "
                 "Key:Accept-Encoding; Value:identity;q=0"),
                (b"Foo", "Header is incorrectly formatted. Key: Foo")):
            with m.connect() as c:
                c.send(head + line + b"\r\n\r\n" + GET_VERSION)
                want = bad(why + text)
                same(c.rest(len(want) + 1), (want, True), line)
        for line in (b"Content-Length: 0", b"Content-Length : +0",
                     b"Content-Length:00", b"X-Any: \xc3\xa9",
                     b"Transfer-Encoding: gzip", b"Content-Type: text/x",
                     b": nameless", b"Accept-Encoding: gzip"):
            answers(m, head + line + b"\r\n\r\n", GOT_VERSION)
        answers(m, head + b"X: y\r\n" * 5000 + b"\r\n", GOT_VERSION)


@test("bodies: 51200 bytes pass, more are refused; --http-api-max-payload-size")
def _():
    def too_large(n, limit):
        return bad(f"Request payload with size {n} is larger than the limit "
                   f"of {limit} allowed by server.")
    body = b'{"vcpu_count":1,"mem_size_mib":8}'
    with Monitor() as m:
        same(m.request("PUT", "/machine-config",
                       body + b" " * (51200 - len(body))).code, 204)
        answers(m, request_bytes("PUT", "/machine-config", b" " * 51201),
                too_large(51201, 51200), closed=True)
    with Monitor("--http-api-max-payload-size", "33") as m:
        answers(m, request_bytes("PUT", "/machine-config", body), NO_CONTENT)
        answers(m, request_bytes("PUT", "/machine-config", body + b" "),
                too_large(34, 33), closed=True)


@test("Expect: 100-continue, and chunked bodies, which are not decoded")
def _():
    body = b'{"vcpu_count":1,"mem_size_mib":8}'
    head = (b"PUT /machine-config HTTP/1.1\r\nExpect: 100-continue\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body))
    go_on = b"HTTP/1.1 100 \r\n" + HEAD + b"\r\n"
    with Monitor() as m:
        with m.connect() as c:
            c.send(head)
            same(c.rest(len(go_on)), (go_on, False))
            c.send(body)
            same(c.rest(len(NO_CONTENT)), (NO_CONTENT, False))
        answers(m, b"GET /version HTTP/1.1\r\nExpect: 100-continue\r\n\r\n",
                GOT_VERSION)
        answers(m, b"PUT /machine-config HTTP/1.1\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n",
                fault("Empty PUT request."))


@test("64 connections; the next gets 503; slow and dead clients delay no one")
def _():
    with Monitor() as m:
        clients = [m.connect() for _ in range(63)]
        for c in clients:
            same(c.request("GET", "/version").body, VERSION)
        with m.connect() as c:
            same(c.rest(1 << 20), (
                b"HTTP/1.1 503\r\nServer: Firecracker API\r\nConnection: "
                b"close\r\nContent-Length: 40\r\n\r\n"
                b'{ "error": "Too many open connections" }', True))
        clients.pop().sock.close()
        # One sends half a request, one reads nothing, one goes away.
        clients[0].send(b"PUT /machine-config HTTP/1.1\r\nContent-Le")
        clients[1].sock.setblocking(False)
        try:
            while True:
                clients[1].send(GET_VERSION * 100)
        except BlockingIOError:
            pass
        clients[2].send(GET_VERSION)
        clients.pop(2).sock.close()
        began = time.monotonic()
        for _ in range(20):
            same(m.request("GET", "/version").body, VERSION)
        same(time.monotonic() - began < 2, True, "is it fast?")
        for c in clients:
            c.sock.close()


@test("curl as a client, with Expect: 100-continue",
      None if shutil.which("curl") else "curl: not installed")
def _():
    with Monitor(files=FILES) as m:
        m.write("body", {"vcpu_count": 2, "mem_size_mib": 64})

        def curl(path, *args):
            done = subprocess.run(
                ["curl", "-sS", "--max-time", "5", "--unix-socket",
                 m.file("api.sock"), "-w", " %{http_code}", *args,
                 "http://localhost" + path], stdout=subprocess.PIPE,
                check=False)
            return done.stdout.decode()
        same(curl("/machine-config", "-T", m.file("body"), "-H",
                  "Expect: 100-continue"), " 204")
        same(curl("/version"), VERSION.decode() + " 200")
        same(curl("/machine-config", "-X", "PATCH", "-d",
                  '{"smt":true}'), " 204")
        same(curl("/machine-config"), '{"vcpu_count":2,"mem_size_mib":64,'
             '"smt":true,"track_dirty_pages":false,"huge_pages":"None"} 200')


if __name__ == "__main__":
    sys.exit(main())
