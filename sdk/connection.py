"""Connecting: a profile in, a Temporal client out, with everything about payloads set up."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID
from temporalio.client import Client, Interceptor, Plugin
from temporalio.converter import DataConverter, DefaultPayloadConverter, PayloadConverter
from temporalio.runtime import Runtime
from temporalio.service import TLSConfig

from codec import KeyRingError
