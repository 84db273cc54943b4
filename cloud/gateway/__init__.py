"""The stateless front door: listeners, identity, authorisation, limits, plaintext guard, routing."""

from cloud.gateway.development import DevelopmentDirectory
from cloud.gateway.gateway import Gateway
from cloud.gateway.http.calls import HttpCall, HttpHandler, HttpReply
from cloud.gateway.identity import Directory, Identities
from cloud.gateway.limits import Limits
from cloud.gateway.listeners import (
    HttpListener,
    Listener,
    ListenFailed,
    api_key_listener,
    development_http_listener,
    development_listener,
    mtls_listener,
    refuse_taken_port,
)
from cloud.gateway.method_table import METHOD_TABLE, LimitClass, Needs, Poll, Scope
from cloud.gateway.server_certificate import (
    CertificateFiles,
    CertificateSource,
    CertificateUnusable,
    OwnCertificate,
    ServerCertificate,
)
from cloud.transport.calls import CallParts, ListenerKind

__all__ = [
    "METHOD_TABLE",
    "CallParts",
    "CertificateFiles",
    "CertificateSource",
    "CertificateUnusable",
    "DevelopmentDirectory",
    "Directory",
    "Gateway",
    "HttpCall",
    "HttpHandler",
    "HttpListener",
    "HttpReply",
    "Identities",
    "LimitClass",
    "Limits",
    "ListenFailed",
    "Listener",
    "ListenerKind",
    "Needs",
    "OwnCertificate",
    "Poll",
    "Scope",
    "ServerCertificate",
    "api_key_listener",
    "development_http_listener",
    "development_listener",
    "mtls_listener",
    "refuse_taken_port",
]
