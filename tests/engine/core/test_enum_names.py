"""Clients may send any number where an enum is wanted."""

from temporalio.api.enums.v1 import CommandType

from cloud.engine.core.enum_names import camel


def test_names_and_numbers() -> None:
    assert camel(CommandType, CommandType.COMMAND_TYPE_START_TIMER, "COMMAND_TYPE_") == "StartTimer"
    assert camel(CommandType, 999, "COMMAND_TYPE_") == "999"
