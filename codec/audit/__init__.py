"""Looks for plaintext where only ciphertext should be: databases, object stores, logs, packet captures, any file."""

from codec.audit.audit import Audit
from codec.audit.needles import AuditError, Needles, read_canaries
from codec.audit.payloads import Kind
from codec.audit.report import Finding, Readable, Report

__all__ = ["Audit", "AuditError", "Finding", "Kind", "Needles", "Readable", "Report", "read_canaries"]
