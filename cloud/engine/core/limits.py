"""Named limits of an execution, with the real server's defaults (common/dynamicconfig/constants.go of 1.32)."""

from __future__ import annotations

from dataclasses import dataclass

from cloud.engine.core.clock import SECOND

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of the executions of a cell. Sizes in bytes, times in ns."""

    blob_size_error: int = 2 * MIB
    blob_size_warn: int = 512 * KIB
    memo_size_error: int = 2 * MIB
    history_size_error: int = 50 * MIB
    history_size_warn: int = 10 * MIB
    history_size_suggest: int = 4 * MIB
    history_count_error: int = 51_200
    history_count_warn: int = 10_240
    history_count_suggest: int = 4_096
    buffered_events: int = 100
    buffered_events_size: int = 2 * MIB
    mutable_state_size_error: int = 8 * MIB
    activity_failure_size: int = 4 * KIB
    id_length: int = 1_000
    pending_activities: int = 2_000
    pending_children: int = 2_000
    pending_signals: int = 2_000
    pending_cancels: int = 2_000
    pending_nexus_operations: int = 30
    callbacks: int = 32
    callback_url_length: int = 1_000
    callback_header_size: int = 8_192
    nexus_name_length: int = 1_000
    nexus_header_size: int = 8_192
    nexus_token_length: int = 4_096
    nexus_request_timeout: int = 10 * SECOND
    nexus_request_timeout_min: int = 1_500_000_000
    nexus_dispatch_margin: int = SECOND
    signals_received: int = 10_000
    build_id_sets: int = 10
    build_ids: int = 100
    build_id_length: int = 255
    assignment_rules: int = 100
    redirect_rules: int = 500
    upstream_build_ids: int = 50
    batch_operations: int = 1
    batch_operations_per_second: int = 50
    workflow_task_problems_reported: int = 5  # in a row, before lists show them
    workflow_task_timeout_default: int = 10 * SECOND
    workflow_task_timeout: int = 120 * SECOND
    retry_initial_interval: int = SECOND
    retry_backoff_coefficient: float = 2.0
    retry_maximum_interval_factor: int = 100
