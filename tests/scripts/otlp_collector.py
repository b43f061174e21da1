"""A collector that decodes spans with the official classes of OTLP, checks each, and prints them as JSON.

usage: otlp_collector.py COUNT

The first line has the port. It ends after so many spans.
"""

import gzip
import importlib
import json
import pkgutil
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import opentelemetry.semconv._incubating.attributes as incubating
import opentelemetry.semconv.attributes as stable
from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, SpanFlags, Status
from opentelemetry.semconv._incubating.attributes.messaging_attributes import (
    MessagingOperationTypeValues,
)

BEGIN = time.time_ns()
OPERATIONS = {value.value for value in MessagingOperationTypeValues}
INTEGERS = {"messaging.batch.message_count", "messaging.message.body.size", "poa.attempt"}
DOUBLES = {"poa.waited_seconds"}


def conventional_names():
    """All names of attributes that the semantic conventions define."""
    names = set()
    for package in (stable, incubating):
        for module in pkgutil.iter_modules(package.__path__):
            attributes = importlib.import_module(f"{package.__name__}.{module.name}")
            names.update(value for value in vars(attributes).values() if isinstance(value, str))
    return names


NAMES = conventional_names()


def check(holds, *what):
    if not holds:
        raise ValueError(*what)


def check_known(message):
    """Fails if a message has a field that its official class does not have."""
    check(len(UnknownFieldSet(message)) == 0, "unknown fields in", message)
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if field.is_repeated else [value]:
                check_known(part)


def read_attributes(pairs):
    """The attributes by name; each once, with a conventional name and the right type."""
    attributes = {}
    for pair in pairs:
        kind = pair.value.WhichOneof("value")
        wanted = "int" if pair.key in INTEGERS else "double" if pair.key in DOUBLES else "string"
        check(kind == f"{wanted}_value", pair.key, "is a", kind)
        check(pair.key in NAMES or pair.key.startswith("poa."), pair.key, "is not a convention")
        check(pair.key not in attributes, pair.key, "is there twice")
        attributes[pair.key] = getattr(pair.value, kind)
    return attributes


def check_id(found, length):
    check(len(found) == length and any(found), "not an id of", length, "bytes:", found)


def read_span(span):
    check_id(span.trace_id, 16)
    check_id(span.span_id, 8)
    if span.parent_span_id:
        check_id(span.parent_span_id, 8)
    start, end = span.start_time_unix_nano, span.end_time_unix_nano
    check(BEGIN <= start <= end <= time.time_ns(), "not nanoseconds of this run:", start, end)
    check(span.flags & SpanFlags.SPAN_FLAGS_TRACE_FLAGS_MASK == 1, "flags", span.flags)
    check(span.trace_state.startswith("ot="), "trace state", span.trace_state)
    attributes = read_attributes(span.attributes)
    check(attributes["messaging.operation.type"] in OPERATIONS, attributes)
    failed = span.status.code == Status.STATUS_CODE_ERROR
    check(failed == bool(span.status.message) == ("error.type" in attributes), span.status)
    return {
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "parent_span_id": span.parent_span_id.hex(),
        "name": span.name,
        "kind": Span.SpanKind.Name(span.kind),
        "start": start,
        "end": end,
        "error": span.status.message,
        "links": [read_link(link) for link in span.links],
        "attributes": attributes,
    }


def read_link(link):
    check_id(link.trace_id, 16)
    check_id(link.span_id, 8)
    remote = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK | SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
    check(link.flags & remote == remote, "a link to an agent that is not remote", link.flags)
    return f"{link.trace_id.hex()}-{link.span_id.hex()}"


class Collector(BaseHTTPRequestHandler):
    spans, service = [], {}

    def do_POST(self):
        check(self.path == "/v1/traces", self.path)
        check(self.headers["content-type"] == "application/x-protobuf", self.headers)
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers["content-encoding"] == "gzip":
            body = gzip.decompress(body)
        request = ExportTraceServiceRequest.FromString(body)
        check_known(request)
        for resource in request.resource_spans:
            Collector.service = read_attributes(resource.resource.attributes)
            for scope in resource.scope_spans:
                check(scope.scope.name and scope.scope.version, "a scope without a name")
                Collector.spans += map(read_span, scope.spans)
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


class Server(HTTPServer):
    def handle_error(self, *_):
        raise


def main():
    server = Server(("127.0.0.1", 0), Collector)
    print(server.server_port, flush=True)
    while len(Collector.spans) < int(sys.argv[1]):
        server.handle_request()
    print(json.dumps({"service": Collector.service, "spans": Collector.spans}), flush=True)


main()
