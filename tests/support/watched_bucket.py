"""An S3 server with somebody in front of it who writes down what is asked, and can meddle."""

import http.client
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import boto3
from prefect_media.blocks import MediaStore


@dataclass(frozen=True)
class Asked:
    """One request, with the names of its headers in lower case."""

    method: str
    path: str
    headers: dict[str, str] = field(repr=False)

    @property
    def is_copy(self):
        return "x-amz-copy-source" in self.headers


class WatchedBuckets:
    """The buckets of `s3` (the fixture), by an address of their own: `requests` is what was asked for.

    `meddle` is called with each request after it was answered by the server and before the answer is passed on, and
    may return another body of it;
    `refuse` is called before, and answers in the server's place unless it returns None.
    """

    def __init__(self, s3):
        self.s3, self.requests = s3, []
        self.meddle = lambda asked: None
        self.refuse = lambda asked: None
        host, port = urlsplit(s3.url).hostname, urlsplit(s3.url).port
        watched = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, self.path, headers)
                watched.requests.append(asked)
                refusal = watched.refuse(asked)
                if refusal:
                    return self.send(*refusal)
                line = http.client.HTTPConnection(host, port, timeout=60)
                line.request(self.command, self.path, body, headers)
                reply = line.getresponse()
                data = reply.read()
                line.close()
                data = watched.meddle(asked) or data
                self.send(reply.status, data, reply.getheaders())
                return None

            def send(self, status, data, headers=()):
                self.send_response(status)
                for name, value in headers:
                    if name.lower() not in ("transfer-encoding", "connection", "content-length", "date", "server"):
                        self.send_header(name, value)
                length = dict((name.lower(), value) for name, value in headers).get("content-length")
                self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.client = boto3.client(  # not watched
            "s3",
            endpoint_url=s3.url,
            region_name="us-east-1",
            aws_access_key_id=s3.key,
            aws_secret_access_key=s3.secret,
        )

    def store(self, prefix="", bucket=None, **more):
        fields = {"aws_access_key_id": self.s3.key, "aws_secret_access_key": self.s3.secret, "region": "us-east-1"}
        url = f"s3://{bucket or self.s3.bucket()}/{prefix}"
        return MediaStore(url=url, endpoint_url=self.url, **{**fields, **more})

    def asked(self, *methods):
        return [asked for asked in self.requests if asked.method in methods]

    def close(self):
        self.server.shutdown()
        self.server.server_close()
